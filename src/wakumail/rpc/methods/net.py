"""net_*, web3_* and rpc_*: what every Ethereum node tells of itself, in geth's words."""

from collections.abc import Callable, Collection
from typing import Any

from wakumail.mail.server import Server
from wakumail.rpc.jsonrpc import Session
from wakumail.version import CLIENT_ID

NETWORK_ID = "1"
"""Waku has no networks; this is what status-go and geth say of their default one."""

API_VERSION = "1.0"
"""Of each namespace, as geth says of all of its own."""


class NetMethods:
    """The network."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def methods(self) -> dict[str, Callable[..., Any]]:
        """The methods by their names on the wire."""
        return {"net_version": self.version, "net_peerCount": self.peer_count}

    def version(self, _session: Session) -> str:
        """The number of the network."""
        return NETWORK_ID

    def peer_count(self, _session: Session) -> str:
        """How many peers are connected, in hexadecimal."""
        return hex(len(self._server.node.peers))


class Web3Methods:
    """The client."""

    def methods(self) -> dict[str, Callable[..., Any]]:
        """The methods by their names on the wire."""
        return {"web3_clientVersion": self.client_version}

    def client_version(self, _session: Session) -> str:
        """What we call ourselves to peers."""
        return CLIENT_ID


class RpcMethods:
    """The API itself, as one transport offers it."""

    def __init__(self, namespaces: Collection[str]) -> None:
        self._namespaces = sorted(namespaces)

    def methods(self) -> dict[str, Callable[..., Any]]:
        """The methods by their names on the wire."""
        return {"rpc_modules": self.modules}

    def modules(self, _session: Session) -> dict[str, str]:
        """The namespaces that the caller can reach, and their versions."""
        return dict.fromkeys(self._namespaces, API_VERSION)
