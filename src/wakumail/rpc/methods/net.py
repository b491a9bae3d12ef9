"""net_*, web3_* and rpc_*: the methods that every Ethereum node has, as in geth."""

from collections.abc import Callable, Collection
from typing import Any

from wakumail.mail.server import Server
from wakumail.rpc.jsonrpc import Session
from wakumail.version import CLIENT_ID

NETWORK_ID = "1"
"""Waku has no networks; status-go and geth give this for their default one."""

API_VERSION = "1.0"
"""The version of each namespace, as in geth."""


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
        """The number of connected peers, in hexadecimal."""
        return hex(len(self._server.node.peers))


class Web3Methods:
    """The client."""

    def methods(self) -> dict[str, Callable[..., Any]]:
        """The methods by their names on the wire."""
        return {"web3_clientVersion": self.client_version}

    def client_version(self, _session: Session) -> str:
        """Our client id."""
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
