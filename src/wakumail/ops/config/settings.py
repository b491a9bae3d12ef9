"""The settings of `wakumail serve`: one dataclass, and the contradictions that it refuses."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import timedelta
from enum import StrEnum
from itertools import combinations
from pathlib import Path

from wakumail.archive.durability import Durability
from wakumail.archive.retention import Retention
from wakumail.devp2p.addresses import Network
from wakumail.devp2p.dns_tree import ListUrl
from wakumail.devp2p.enode import MAX_PORT, Enode
from wakumail.mail.request import MAX_LIMIT
from wakumail.node.dns_resolver import NameServer
from wakumail.ops.config import values
from wakumail.ops.config.setting import Kind, Reload, describe, setting
from wakumail.ops.config.values import LogLevel
from wakumail.rpc.access import exposure
from wakumail.rpc.namespaces import Namespace
from wakumail.waku.completion import CompletionForm
from wakumail.waku.packets import MAX_POW, MAX_TOPIC_INTEREST, MIN_ENVELOPE

MAX_DAYS = 10_000
"""Most days of retention: it has to begin later than 1970."""

HIGHEST_MAX_PACKET = 16 << 20
"""Bytes of a decompressed packet: the bound of devp2p (EIP-706)."""

HIGHEST_MAX_REPLY = 10 << 20
"""Bytes of a sent packet: it fits in one frame even if snappy makes it longer."""


MAX_WORKERS = 64
"""Most workers: each reads the archive with a few threads, and all share LMDB's reader table."""


RATES_OF_BYTES = ("rate_bytes_ip", "rate_bytes_peer", "rate_bytes_topic")


class Advertised(StrEnum):
    """The two ways to tell peers the topics that we want."""

    BLOOM = "bloom"
    TOPICS = "topics"


HARMLESS = tuple(namespace for namespace in Namespace if namespace is not Namespace.ADMIN)
"""The namespaces that TCP offers by default."""

FLAG = Kind("", values.flag, (bool,))
COUNT = Kind("N", values.whole(1, (1 << 31) - 1), (int,))
WHOLE = Kind("N", values.whole(0, (1 << 31) - 1), (int,))
WORKERS = Kind("N", values.whole(1, MAX_WORKERS), (int,))
PORT = Kind("PORT", values.whole(0, MAX_PORT), (int,))
BYTES = Kind("BYTES", values.whole(1), (int,))
PACKET = Kind("BYTES", values.whole(1024, HIGHEST_MAX_PACKET), (int,))
REPLY = Kind("BYTES", values.whole(1024, HIGHEST_MAX_REPLY), (int,))
SIZE = Kind("BYTES", values.whole(0), (int,))
ENVELOPE = Kind("BYTES", values.whole(MIN_ENVELOPE), (int,))
POW = Kind("POW", values.amount(MAX_POW), (float, int))
AMOUNT = Kind("N", values.amount(1e9), (float, int))
PAUSE = Kind("SECONDS", values.whole(1, 86400), (int,))
DAYS = Kind("DAYS", values.amount(MAX_DAYS), (float, int))
FILE = Kind("FILE", values.path)
TEXT = Kind("TEXT", values.words)
HOST = Kind("ADDRESS", values.listener)
TOPIC = Kind("TOPIC", values.topic)
LIST = Kind("URL", ListUrl.parse)
ENODE = Kind("ENODE", Enode.parse, leaves_out=True)
LOG_SERVER = Kind("URL", values.log_server)
VHOST = Kind("NAME", values.vhost)
ORIGIN = Kind("ORIGIN", values.origin)
NETWORK = Kind("NETWORK", values.network)
PEER = Kind("PEER", values.peer_or_network)
NAMESPACE = Kind("NAMESPACE", values.choice(Namespace), needs_item=True)


@dataclass(frozen=True, slots=True)
class Settings:
    """All choices of an operator.

    Settings that contradict each other raise a Contradiction.
    """

    datadir: Path = setting(
        Path("data"),
        "directory of the archive, the node key and the RPC socket",
        FILE,
        "DIR",
        reload=Reload.NO,
    )
    host: str = setting("0.0.0.0", "address to listen on", HOST, reload=Reload.NO)
    port: int = setting(
        30303, "TCP port to listen on; 0 = the system chooses", PORT, reload=Reload.NO
    )
    nodekey: Path | None = setting(
        None,
        "file of the node key, made if missing (default: DATADIR/nodekey)",
        FILE,
        reload=Reload.NO,
    )
    nodekeyhex: str | None = setting(
        None,
        "the node key itself, 64 hex digits",
        Kind("HEX", values.node_key),
        secret=True,
        reload=Reload.NO,
    )
    nat: str = setting(
        "none",
        "how others reach us: none (where we listen), extip:ADDRESS, extip:auto (nodes of "
        "--discovery.v4 tell it), upnp or pmp (the router), or any of these",
        Kind("NAT", values.nat),
    )
    netrestrict: tuple[Network, ...] = setting(
        (),
        "accept and dial only peers in these networks (CIDR); empty = all",
        NETWORK,
        reload=Reload.YES,
    )
    workers: int = setting(
        1, "processes that share the port and the archive", WORKERS, reload=Reload.NO
    )
    maxpeers: int = setting(
        5000,
        "most peers that may connect; trusted and dialed peers do not count",
        COUNT,
        reload=Reload.ALONE,
    )
    max_handshakes: int = setting(1024, "most handshakes in progress", COUNT, reload=Reload.YES)
    static_nodes: tuple[Enode, ...] = setting(
        (),
        "nodes to stay connected to, in addition to DATADIR/static-nodes.json",
        ENODE,
        reload=Reload.YES,
    )
    trusted_nodes: tuple[Enode, ...] = setting(
        (),
        "like --static-nodes, and admitted even above --maxpeers; may send p2p messages; "
        "in addition to DATADIR/trusted-nodes.json",
        ENODE,
        reload=Reload.YES,
    )
    mindial: int = setting(
        0, "peers to find and call, by --discovery.v4 and --discovery.dns", WHOLE
    )
    bootnodes: tuple[Enode, ...] = setting(
        (), "nodes that lead into the network of --discovery.v4", ENODE
    )
    nodiscover: bool = setting(False, "find no peers, whatever else is set", FLAG)
    mailserver: bool = setting(True, "archive envelopes and answer requests", FLAG)
    password: str | None = setting(
        None,
        "password that requests may be sealed with (default: the Status fleet's)",
        TEXT,
        secret=True,
        reload=Reload.YES,
    )
    password_file: Path | None = setting(
        None, "file whose first line is the password", FILE, reload=Reload.YES
    )
    asymkey_file: Path | None = setting(
        None,
        "file of a private key that requests may be sealed for, in addition to the node key",
        FILE,
        reload=Reload.YES,
    )
    min_pow: float = setting(
        0.002,
        "least PoW of an envelope; from 50,000 bytes on a thousandth of it; 0 = any",
        POW,
        reload=Reload.YES,
    )
    max_envelope: int = setting(1 << 20, "largest envelope accepted", ENVELOPE, reload=Reload.YES)
    max_packet: int = setting(10 << 20, "largest packet accepted, after decompression", PACKET)
    max_reply: int = setting(1 << 20, "largest P2P Messages packet sent", REPLY)
    topics: tuple[bytes, ...] = setting(
        (),
        "accept only these topics, 8 hex digits each (default: all)",
        TOPIC,
        reload=Reload.YES,
    )
    interest: Advertised = setting(
        Advertised.BLOOM,
        "how to tell peers the topics: bloom or topics",
        Kind("HOW", values.choice(Advertised)),
        reload=Reload.YES,
    )
    light: bool = setting(False, "relay only what is posted here", FLAG)
    confirmations: bool = setting(True, "confirm envelopes once they are on disk", FLAG)
    durability: Durability = setting(
        Durability.COMMIT,
        "commit: write to disk at once; interval: every 0.3 s, and confirm later",
        Kind("WHEN", values.choice(Durability)),
    )
    retention: float = setting(
        30.0, "days to keep envelopes; 0 = for ever", DAYS, reload=Reload.YES
    )
    max_size: int = setting(
        0,
        "largest size of the archive; the oldest envelopes are deleted; 0 = no limit",
        SIZE,
        reload=Reload.YES,
    )
    sort_days: bool = setting(
        True,
        "sort days that are over by topic: answers by topics read less of the disk",
        FLAG,
        reload=Reload.YES,
    )
    sync_peers: tuple[Enode, ...] = setting(
        (),
        "nodes whose archive and ours are made equal; each has to name the other",
        ENODE,
        reload=Reload.YES,
    )
    sync_interval: int = setting(
        300, "seconds between two comparisons with a sync peer", PAUSE, reload=Reload.YES
    )
    sync_window: float = setting(
        0.0,
        "days before now that are made equal; 0 = all that both keep",
        DAYS,
        reload=Reload.YES,
    )
    cluster: tuple[str, ...] = setting(
        (),
        "servers of the log (NATS) that several hosts share, nats://HOST:PORT each",
        LOG_SERVER,
        secret=True,
        reload=Reload.NO,
    )
    cluster_name: str = setting(
        "wakumail",
        "name of the log, as `wakumail cluster init` made it",
        Kind("NAME", values.log_name),
        reload=Reload.NO,
    )
    max_waiting: int = setting(
        16, "requests of one peer that may wait for their turn", COUNT, reload=Reload.YES
    )
    max_limit: int = setting(
        MAX_LIMIT,
        "most envelopes per request; also the limit of a request that names none",
        COUNT,
        reload=Reload.YES,
    )
    request_rate: float = setting(
        0.0,
        "requests per second from one peer, and from one address; 0 = no limit",
        AMOUNT,
        reload=Reload.YES,
    )
    request_min_pow: float = setting(
        0.0, "least PoW of a request's envelope", POW, reload=Reload.YES
    )
    require_signature: bool = setting(
        False, "refuse requests without a signature", FLAG, reload=Reload.YES
    )
    completion: CompletionForm | None = setting(
        None,
        "form of every Request Complete: bytes or list (default: that of the request)",
        Kind("FORM", values.choice(CompletionForm)),
        reload=Reload.YES,
    )
    relay_memory: int = setting(64 << 20, "memory for live envelopes to relay", BYTES)
    shh: bool = setting(False, "accept Whisper 6 peers too, and bridge both networks", FLAG)
    ipcpath: Path | None = setting(
        None, "socket of the RPC API (default: DATADIR/wakumail.ipc)", FILE, "SOCKET"
    )
    verbosity: LogLevel = setting(
        LogLevel.INFO,
        "error, warning, info or debug, or 1 to 4; debug logs the addresses of peers",
        Kind("LEVEL", values.log_level, (str, int)),
        reload=Reload.YES,
    )

    discovery_v4: bool = setting(False, "find nodes, and be found, by node discovery v4", FLAG)
    discovery_port: int | None = setting(
        None, "UDP port of --discovery.v4; 0 = the system chooses (default: the TCP port)", PORT
    )
    discovery_dns: tuple[ListUrl, ...] = setting(
        (), "lists of nodes in the DNS, enrtree://KEY@DOMAIN each", LIST
    )
    discovery_dns_server: NameServer | None = setting(
        None,
        "name server to ask for the lists (default: those of the system)",
        Kind("ADDRESS[:PORT]", NameServer.parse),
    )
    rate_packets_ip: int = setting(
        0, "packets per second from one address; 0 = no limit", WHOLE, reload=Reload.YES
    )
    rate_packets_peer: int = setting(
        0, "packets per second from one peer; 0 = no limit", WHOLE, reload=Reload.YES
    )
    rate_packets_topic: int = setting(
        0,
        "envelopes per second that a peer may send on one topic; 0 = no limit",
        WHOLE,
        reload=Reload.YES,
    )
    rate_bytes_ip: int = setting(
        0,
        "bytes per second from one address, at least --max-packet; 0 = no limit",
        WHOLE,
        reload=Reload.YES,
    )
    rate_bytes_peer: int = setting(
        0,
        "bytes per second from one peer, at least --max-packet; 0 = no limit",
        WHOLE,
        reload=Reload.YES,
    )
    rate_bytes_topic: int = setting(
        0,
        "bytes of envelopes per second that a peer may send on one topic, "
        "at least --max-packet; 0 = no limit",
        WHOLE,
        reload=Reload.YES,
    )
    rate_tolerance: int = setting(
        3, "times in a row that a peer may exceed a rate limit", WHOLE, reload=Reload.YES
    )
    rate_whitelist: tuple[bytes | Network, ...] = setting(
        (),
        "addresses, networks (CIDR) and node ids that no rate limit holds for",
        PEER,
        reload=Reload.YES,
    )
    http: bool = setting(False, "RPC API over HTTP", FLAG)
    http_addr: str = setting("127.0.0.1", "address that HTTP listens on", HOST)
    http_port: int = setting(8545, "TCP port of HTTP", PORT)
    http_api: tuple[Namespace, ...] = setting(HARMLESS, "namespaces over HTTP", NAMESPACE)
    http_vhosts: tuple[str, ...] = setting(
        ("localhost",), "host names that HTTP and --store answer to; * = any", VHOST
    )
    ws: bool = setting(False, "RPC API over WebSocket", FLAG)
    ws_addr: str = setting("127.0.0.1", "address that WebSocket listens on", HOST)
    ws_port: int = setting(8546, "TCP port of WebSocket", PORT)
    ws_api: tuple[Namespace, ...] = setting(HARMLESS, "namespaces over WebSocket", NAMESPACE)
    ws_origins: tuple[str, ...] = setting(
        (), "web origins that may open a WebSocket, [SCHEME://]HOST[:PORT]; * = any", ORIGIN
    )
    ipc_api: tuple[Namespace, ...] = setting(
        tuple(Namespace), "namespaces over the Unix socket", NAMESPACE
    )
    rpc_token_file: Path | None = setting(
        None,
        "file with the bearer token of HTTP, WebSocket and --store; required beyond loopback",
        FILE,
    )
    store: bool = setting(False, "history over HTTP, as nwaku's REST API answers it", FLAG)
    store_addr: str = setting("127.0.0.1", "address that --store listens on", HOST)
    store_port: int = setting(8645, "TCP port of --store", PORT)
    store_origins: tuple[str, ...] = setting(
        (), "web origins that may read the history, [SCHEME://]HOST[:PORT]; * = any", ORIGIN
    )
    store_rate: float = setting(
        0.0, "requests to --store per second from one address; 0 = no limit", AMOUNT
    )
    metrics: bool = setting(False, "serve a page, /metrics, /health, /ready and /live", FLAG)
    metrics_addr: str = setting("127.0.0.1", "address that metrics listen on", HOST)
    metrics_port: int = setting(9305, "TCP port of metrics", PORT)
    log_json: bool = setting(False, "log one JSON object per line", FLAG, reload=Reload.YES)

    @property
    def listens_http(self) -> bool:
        """True if anything is served over HTTP."""
        return self.http or self.ws or self.store or self.metrics

    @property
    def discovers_v4(self) -> bool:
        """True if discovery v4 runs."""
        return self.discovery_v4 and not self.nodiscover

    @property
    def discovers_dns(self) -> bool:
        """True if there are lists in the DNS to read."""
        return bool(self.discovery_dns) and not self.nodiscover

    @property
    def searches_peers(self) -> bool:
        """True if the node looks for peers, or for the address at which they reach it."""
        return (
            self.discovers_v4
            or self.discovers_dns
            or bool(self.mindial)
            or self.nat in values.ASKED
        )

    @property
    def bounds(self) -> Retention:
        """The bounds of the archive."""
        return Retention(
            seconds=int(timedelta(days=self.retention).total_seconds()),
            max_size=self.max_size,
            sort_days=self.sort_days,
        )

    def __post_init__(self) -> None:
        if found := [*_contradictions(self)]:
            found[0].others = tuple(found[1:])
            raise found[0]


SETTINGS = tuple(describe(item) for item in fields(Settings))
"""All settings; those without a section come first, those of one section stand together."""


class Contradiction(ValueError):
    """Settings contradict each other; `fields` names them."""

    def __init__(self, reason: str, *fields: str) -> None:
        super().__init__(reason)
        self.fields = fields
        self.others: tuple[Contradiction, ...] = ()
        """The contradictions beside this one."""


def _contradictions(settings: Settings) -> Iterator[Contradiction]:
    for one, other in (("nodekey", "nodekeyhex"), ("password", "password_file")):
        if getattr(settings, one) is not None and getattr(settings, other) is not None:
            yield Contradiction(f"{one} and {other} are both given", one, other)
    for small, large in (("max_envelope", "max_packet"), ("max_envelope", "relay_memory")):
        if getattr(settings, small) > getattr(settings, large):
            yield Contradiction(f"{small} is more than {large}", small, large)
    for name in RATES_OF_BYTES:
        if 0 < getattr(settings, name) < settings.max_packet:
            # 6/WAKU1, "Rate Limits Field"
            text = (
                f"{name.replace('_', '.', 1)} is less than max_packet: {getattr(settings, name)}"
                f" bytes have no room for a packet of {settings.max_packet}"
            )
            yield Contradiction(text, name, "max_packet")
    if settings.interest is Advertised.TOPICS and len(settings.topics) > MAX_TOPIC_INTEREST:
        text = f"peers take at most {MAX_TOPIC_INTEREST} topics, but a bloom of any number"
        yield Contradiction(text, "topics", "interest")
    if settings.light and settings.workers > 1:
        # The archive does not tell apart envelopes that were posted here.
        yield Contradiction("a light node has one worker", "light", "workers")
    if settings.cluster and settings.workers > 1:
        # The log's order goes into the archive through one writer.
        yield Contradiction("a host of a cluster has one worker", "cluster", "workers")
    if settings.cluster and not settings.mailserver:
        yield Contradiction("a host of a cluster has an archive", "cluster", "mailserver")
    if settings.nat == values.Nat.AUTO and not settings.discovers_v4:
        text = "the nodes of discovery tell our address: extip:auto needs discovery.v4"
        yield Contradiction(text, "nat", "discovery_v4", "nodiscover")
    if settings.store and not settings.mailserver:
        yield Contradiction("store answers from the archive of a mailserver", "store", "mailserver")
    yield from _port_clashes(settings)
    for name in ("http", "ws", "store"):
        address = getattr(settings, f"{name}_addr")
        text = exposure(address, has_token=settings.rpc_token_file is not None)
        if getattr(settings, name) and text:
            yield Contradiction(text, name, f"{name}_addr")


def _port_clashes(settings: Settings) -> Iterator[Contradiction]:
    """HTTP and WebSocket may share an address; no other two listeners have the same port."""
    ports = [("port", settings.port)]
    for name in ("http", "ws", "store", "metrics"):
        if getattr(settings, name):
            ports.append((f"{name}.port", getattr(settings, f"{name}_port")))
    for (one, port), (other, same) in combinations(ports, 2):
        shared = (one, other) == ("http.port", "ws.port") and settings.http_addr == settings.ws_addr
        if port == same != 0 and not shared:
            clash = f"{one} and {other} are both {port}"
            yield Contradiction(clash, one.replace(".", "_"), other.replace(".", "_"))
