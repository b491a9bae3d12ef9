"""A server of the bench whose longest steps can be asked for, with all its doors open."""

import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from wakumail.base.free_ports import free_ports
from wakumail.devp2p import keys
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.packets import SYNC, WAKU, Capability
from wakumail.load.clients.blocking_connection import (
    LOAD_TIMEOUT,
    WANTS_NOTHING,
    BlockingConnection,
)
from wakumail.load.clients.role import LoadFailed
from wakumail.load.clients.rpc_caller import HttpCaller, RpcCaller, UnixCaller, WebSocketCaller
from wakumail.load.server_process import ServerProcess
from wakumail.load.workload.rpc_inputs import KEY
from wakumail.waku.packets import StatusOptions

NAMESPACES = "admin,net,rpc,waku,wakuext,web3"

SYNC_PEERS = 60

NO_RATE = 1 << 30
"""Envelopes, and bytes of them, per second and topic: counted, and more than anybody sends."""

SETTLE_TIME = 0.25
"""Seconds after the last byte that a server is sent, in which it may still work on it: the relay
acts ten times a second."""


class MeteredServer:
    """`wakumail serve` with its step meter."""

    def __init__(self, datadir: Path, flags: Sequence[str] = ()) -> None:
        self._rpc_port, self._metrics_port, self._store_port = free_ports(3)
        self.trusted_key = keys.generate(os.urandom)
        """The node key of a peer that the server trusts."""
        self._sync_keys = [keys.generate(os.urandom) for _ in range(SYNC_PEERS)]
        """Node keys of the peers that the server syncs with, until they break a rule."""
        self._wire, theirs = socket.socketpair()
        self._wire.settimeout(LOAD_TIMEOUT)
        with theirs:
            doors = (
                *("--shh", "--http", "--ws", "--metrics", "--store"),
                *("--http.port", str(self._rpc_port), "--ws.port", str(self._rpc_port)),
                *("--http.api", NAMESPACES, "--ws.api", NAMESPACES, "--ipc.api", NAMESPACES),
                *("--metrics.port", str(self._metrics_port)),
                *("--store.port", str(self._store_port)),
                *("--rate.packets-topic", str(NO_RATE), "--rate.bytes-topic", str(NO_RATE)),
                *("--sync-peers", ",".join(map(str, map(nowhere, self._sync_keys)))),
                *("--step-meter", str(theirs.fileno())),
            )
            self._process = ServerProcess(datadir, (*doors, *flags), (theirs.fileno(),))
        running = self._process.running
        assert running.usage is not None
        assert running.datadir is not None
        self.enode = running.enode
        self.pid = running.usage.pid
        self._ipc = running.datadir.ipc
        self._answers = self._wire.makefile("rb")
        self.key_id: str
        """The id of KEY, and of a key pair: those of others may fill up the server's room."""
        self.pair_id: str

    def __enter__(self) -> Self:
        self._process.__enter__()
        self.ask("admin_addTrustedPeer", str(nowhere(self.trusted_key)))
        self.key_id = self.ask("waku_addSymKey", KEY)
        self.pair_id = self.ask("waku_newKeyPair")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._answers.close()
        self._wire.close()
        self._process.__exit__(kind, error, at)

    @property
    def gone(self) -> bool:
        """True if the process has ended."""
        return self._process.ended

    def longest_step(self) -> float:
        """Seconds of the longest step since the last call. LoadFailed if the server is gone."""
        self._wire.sendall(b"?")
        answer = self._answers.readline()
        if not answer:
            raise LoadFailed("the server is gone")
        return float(answer)

    def settle(self) -> None:
        """Give it time for what it does later."""
        time.sleep(SETTLE_TIME)

    def connect(
        self,
        capability: Capability = WAKU[-1],
        status: StatusOptions | bytes = WANTS_NOTHING,
        *,
        trusted: bool = False,
    ) -> BlockingConnection:
        """A peer, past its status."""
        key = self.trusted_key if trusted else None
        peer = BlockingConnection(self.enode, key, (capability,))
        peer.dial()
        peer.greet(status)
        return peer

    def connect_to_sync(self) -> BlockingConnection:
        """A peer that the server syncs with, past its status; another one each time.

        LoadFailed when all have been used.
        """
        if not self._sync_keys:
            raise LoadFailed("no more peers to sync with")
        peer = BlockingConnection(self.enode, self._sync_keys.pop(), (*WAKU[-1:], SYNC))
        peer.dial()
        peer.greet(WANTS_NOTHING)
        return peer

    @property
    def doors(self) -> tuple[tuple[str, int] | str, ...]:
        """The addresses of peers, RPC, pages and history, and the Unix socket."""
        ports = self.enode.port, self._rpc_port, self._metrics_port, self._store_port
        return (*((self.enode.host, port) for port in ports), str(self._ipc))

    def callers(self) -> Iterator[RpcCaller]:
        """A caller over each transport, in turn."""
        yield UnixCaller(self._ipc)
        yield self.http()
        yield self.websocket()

    def http(self) -> HttpCaller:
        """A caller of the RPC API over HTTP."""
        return HttpCaller(self._rpc_port)

    def websocket(self) -> WebSocketCaller:
        """A caller of the RPC API over a WebSocket."""
        return WebSocketCaller(self._rpc_port)

    def pages(self) -> HttpCaller:
        """A caller of the pages for operators."""
        return HttpCaller(self._metrics_port)

    def history(self) -> HttpCaller:
        """A caller of history over HTTP."""
        return HttpCaller(self._store_port)

    def ask(self, method: str, *params: object) -> Any:
        """The result of a call over the Unix socket. LoadFailed if it fails."""
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        with UnixCaller(self._ipc) as caller:
            answer = json.loads(caller.call(json.dumps(message).encode()))
        if "error" in answer:
            raise LoadFailed(f"{method}: {answer['error']['message']}")
        return answer["result"]


def nowhere(key: keys.PrivateKey) -> Enode:
    """The enode of a node that cannot be dialed."""
    return Enode(keys.node_id(key.public_key), "127.0.0.1", 1, 1)
