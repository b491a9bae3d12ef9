"""admin_*: the node and its peers, in the shapes of geth."""

import asyncio
from collections.abc import Callable
from typing import Any

from wakumail.base.keccak import keccak256
from wakumail.devp2p.discovery.table import Contact
from wakumail.devp2p.enode import MAX_PORT, Enode
from wakumail.mail.server import Server
from wakumail.node.link import Link
from wakumail.rpc import params
from wakumail.rpc.jsonrpc import INVALID_PARAMS, RpcError, Session
from wakumail.rpc.objects import WAKU_VERSION, trust
from wakumail.version import CLIENT_ID

SLICE = 200
"""Peers that are described in one step of the loop: some 2 ms."""


class AdminMethods:
    """The methods of an operator."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def methods(self) -> dict[str, Callable[..., Any]]:
        """The methods by their names on the wire."""
        return {
            "admin_nodeInfo": self.node_info,
            "admin_peers": self.peers,
            "admin_addPeer": self.add_peer,
            "admin_removePeer": self.remove_peer,
            "admin_addTrustedPeer": self.add_trusted_peer,
            "admin_removeTrustedPeer": self.remove_trusted_peer,
            "admin_discoveredNodes": self.discovered_nodes,
        }

    def node_info(self, _session: Session) -> dict[str, Any]:
        """Our enode, record, name, address and rules."""
        enode, rules, presence = self._server.enode, self._server.rules, self._server.presence
        host, port = self._server.node.listening or ("", 0)
        return {
            "id": _short_id(enode.node_id),
            "name": CLIENT_ID,
            "enode": str(enode),
            "enr": str(presence.record),
            "ip": enode.host,
            "ports": {
                "discovery": 0 if presence.discovery is None else enode.discport,
                "listener": enode.port,
            },
            "listenAddr": _endpoint(host, port),
            "protocols": {
                "waku": {
                    "version": WAKU_VERSION,
                    "maxMessageSize": rules.max_envelope,
                    "minimumPoW": rules.min_pow,
                }
            },
        }

    async def peers(self, _session: Session) -> list[dict[str, Any]]:
        """The connected peers, ordered by id. Others have a turn after every SLICE of them."""
        told: list[dict[str, Any]] = []
        for link in tuple(self._server.node.peers):
            if link.ready and link.closed is None:  # it may have left meanwhile
                told.append(self._peer(link))
                if not len(told) % SLICE:
                    await asyncio.sleep(0)
        return sorted(told, key=lambda peer: str(peer["id"]))

    def add_peer(self, _session: Session, enode: Any) -> bool:
        """Connect to a node, and stay connected."""
        target = params.enode(enode, "enode")
        try:
            self._server.dialer.add(target)
        except ValueError as error:
            raise RpcError(INVALID_PARAMS, f"enode cannot be dialed: {error}") from None
        return True

    def remove_peer(self, _session: Session, enode: Any) -> bool:
        """Disconnect from a node, and do not connect to it again."""
        self._server.dialer.remove(params.enode(enode, "enode").node_id)
        return True

    def add_trusted_peer(self, _session: Session, enode: Any) -> bool:
        """Admit a peer even if the node is full, and let it send expired envelopes."""
        trust(self._server.node, enode)
        return True

    def remove_trusted_peer(self, _session: Session, enode: Any) -> bool:
        """Stop to trust a peer; it stays connected."""
        self._server.node.admission.distrust(params.enode(enode, "enode").node_id)
        return True

    def discovered_nodes(self, _session: Session) -> list[dict[str, Any]]:
        """The nodes in the table of discovery, ordered by id; none without discovery."""
        discovery = self._server.presence.discovery
        contacts = () if discovery is None else tuple(discovery.table)
        return sorted(map(_contact, contacts), key=lambda node: str(node["id"]))

    def _peer(self, link: Link) -> dict[str, Any]:
        hello, settings = link.peer.hello, link.peer.settings
        assert hello is not None, "a peer that is ready has said hello"
        protocol, _, version = link.peer.name.partition("/")
        listens = link.inbound and 0 < hello.listen_port <= MAX_PORT
        port = hello.listen_port if listens else link.port
        return {
            "enode": f"enode://{link.node_id.hex()}@{_endpoint(link.address, port)}",
            "id": _short_id(link.node_id),
            "name": hello.client_id,
            "caps": [f"{name}/{version}" for name, version in hello.capabilities],
            "network": {
                "localAddress": _endpoint(*link.local),
                "remoteAddress": _endpoint(link.address, link.port),
                "inbound": link.inbound,
                "trusted": link.node_id in self._server.node.admission.trusted,
                "static": link.node_id in self._server.dialer.targets,
            },
            "protocols": {
                protocol: {
                    "version": int(version),
                    "minimumPoW": settings.pow,
                    "light": settings.light,
                    "confirmations": settings.confirmations,
                }
            },
        }


def _contact(contact: Contact) -> dict[str, Any]:
    """A node that discovery knows."""
    ip, udp, tcp = contact.endpoint
    record = contact.record
    return {
        "id": _short_id(contact.node_id),
        "enode": str(Enode(contact.node_id, ip, tcp, udp)),
        "enr": None if record is None else str(record),
        "waku": record is not None and record.speaks_waku,
        "mailserver": record is not None and record.is_mailserver,
    }


def _short_id(node_id: bytes) -> str:
    """The hash that geth lists nodes by."""
    return keccak256(node_id).hex()


def _endpoint(host: str, port: int) -> str:
    """Host and port as Go writes them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
