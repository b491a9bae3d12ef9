"""The identity and the address of a node, as an enode URL or a node record tells them.

The enode URL is that of devp2p ("enode URL format"), the record that of EIP-778.
"""

import re
from dataclasses import dataclass

from wakumail.devp2p.addresses import check_host, undialable
from wakumail.devp2p.enr import PREFIX, Enr
from wakumail.devp2p.keys import public_key

MAX_PORT = 0xFFFF

_URL = re.compile(r"enode://([^@]*)@(.*):([0-9]{1,5})(?:\?([!-~]*))?")
_DISCPORT = re.compile(r"discport=([0-9]{1,5})")
_SHAPE = "a node looks like enode://<128 hex digits>@host:port, or like enr:<base64>"

MAX_URL = 2048
"""Most characters of an enode URL. One with the longest host name and a discport has 411."""


@dataclass(frozen=True, slots=True)
class Enode:
    """A node: `enode://<node id, 128 hex digits>@host:port[?discport=n]` as a string.

    `node_id` has 64 bytes. `host` is an IPv4 address, an IPv6 address (without brackets here, in
    brackets in the URL) or a DNS name; an address has one spelling. `port` is the TCP port,
    `discport` the UDP port of node discovery; 0 for none. ValueError for anything else. Other query
    parameters are ignored.
    """

    node_id: bytes
    host: str
    port: int
    discport: int

    def __post_init__(self) -> None:
        public_key(self.node_id)
        object.__setattr__(self, "host", check_host(self.host))
        if not 0 <= self.port <= MAX_PORT:
            raise ValueError(f"{self.port} is no TCP port")
        if not 0 <= self.discport <= MAX_PORT:
            raise ValueError(f"{self.discport} is no UDP port")

    @classmethod
    def parse(cls, url: str) -> "Enode":
        """Parse an enode URL, or the text of a node record (`enr:`); ValueError with the fault."""
        if url.startswith(PREFIX):
            return enode_of(Enr.parse(url))
        if len(url) > MAX_URL:
            raise ValueError(f"{_SHAPE}, in at most {MAX_URL} characters")
        parts = _URL.fullmatch(url)
        if parts is None:
            raise ValueError(_SHAPE)
        identity, host, port, query = parts.groups()
        tcp, discport = int(port), _read_discport(query or "")
        if not re.fullmatch("[0-9a-fA-F]{128}", identity):
            raise ValueError("the node id of an enode is 128 hexadecimal digits")
        bracketed = host.startswith("[") and host.endswith("]")
        if bracketed != (":" in host):
            raise ValueError("an IPv6 address, and nothing else, is in brackets")
        if bracketed:
            host = host[1:-1]
        return cls(bytes.fromhex(identity), host, tcp, tcp if discport is None else discport)

    @property
    def undialable(self) -> str:
        """The reason why nobody can dial the node; empty if there is none.

        A bootnode may have no TCP port.
        """
        if not self.port:
            return "0 is no TCP port: a node for discovery only cannot be dialed"
        return undialable(self.host)

    @property
    def address(self) -> str:
        """`host:port`, as in the URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        query = "" if self.discport == self.port else f"?discport={self.discport}"
        return f"enode://{self.node_id.hex()}@{self.address}{query}"


def enode_of(record: Enr) -> Enode:
    """The node of a record; ValueError if the record tells no address."""
    if record.ip is None:
        raise ValueError("the node record has no IP address: the node cannot be dialed")
    return Enode(record.node_id, str(record.ip), record.tcp, record.udp)


def _read_discport(query: str) -> int | None:
    """The UDP port in the query of a URL, None without one; its other parameters are ignored."""
    for parameter in query.split("&"):
        if parameter.partition("=")[0] == "discport":
            found = _DISCPORT.fullmatch(parameter)
            if found is None:
                raise ValueError("a node looks like enode://...@host:port?discport=port")
            return int(found[1])
    return None
