"""A node: listens, dials, and keeps the table of peers. It does not know what an archive is."""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

from wakumail.counters import Counters
from wakumail.devp2p.connection import Connection, ConnectionConfig
from wakumail.devp2p.connection_events import Closed
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import public_key
from wakumail.errors import DisconnectReason
from wakumail.node.acceptor import Acceptor
from wakumail.node.admission import Admission
from wakumail.node.encryption_thread import EncryptionThread
from wakumail.node.handshake_thread import HandshakeThread
from wakumail.node.link import Dial, Link, Wait
from wakumail.node.memory import Memory
from wakumail.node.roster import Roster
from wakumail.node.turns import Turns
from wakumail.waku.envelope import Rules
from wakumail.waku.own_status import TOLERANCE, OwnStatus
from wakumail.waku.packets import StatusOptions
from wakumail.waku.peer import Peer
from wakumail.waku.peer_events import PeerEvent
from wakumail.waku.rate_limits import Network, Traffic

BACKLOG = 1024
"""Connections that may wait to be accepted."""

DIAL_TIMEOUT = 10.0
"""Seconds from the first SYN to the peer's status, for those who dial."""

MAX_UPDATES_AT_ONCE = 100
"""Status updates that are sent before the loop turns to others."""


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What a node is to its peers."""

    connection: ConnectionConfig
    options: StatusOptions
    rules: Rules
    maxpeers: int
    """Peers that called us; those that we call, and trusted ones, come in beside them."""
    max_handshakes: int
    netrestrict: tuple[Network, ...]
    """Where peers may be, beside this machine; none: anywhere."""
    traffic: Traffic | None
    """What peers may send; None: any amount."""
    roster: Roster | None = None
    """Who is connected to all processes of the server; None: there is this one only."""


def listen_together(host: str, port: int, workers: int) -> list[socket.socket]:
    """Sockets that share one port (SO_REUSEPORT), and what comes for it; they listen already.

    OSError when another process has the port, though it should share it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    dual = host == "::" and socket.has_dualstack_ipv6()
    if port:
        socket.create_server((host, port), family=family, dualstack_ipv6=dual).close()
    sockets: list[socket.socket] = []
    try:
        for _ in range(workers):
            own = socket.create_server(
                (host, port), family=family, backlog=BACKLOG, reuse_port=True, dualstack_ipv6=dual
            )
            sockets.append(own)
            port = own.getsockname()[1]
    except OSError:
        for own in sockets:
            own.close()
        raise
    return sockets


class Handler(Protocol):
    """Who owns a node: the server, or the client library."""

    def on_event(self, link: Link, event: PeerEvent) -> None:
        """A peer that is ready did something; Ready is the first. A ProtocolError ends it."""

    def on_writable(self, link: Link) -> None:
        """A peer that had left too much unread has read most of it."""

    def on_gone(self, link: Link) -> None:
        """A peer that was ready is no longer there."""


class Node:
    """Listens, dials, and keeps the table of peers."""

    def __init__(self, config: NodeConfig, handler: Handler, counters: Counters) -> None:
        self.config = config
        self.handler = handler
        self.counters = counters
        self.status = OwnStatus(config.options, config.rules)
        self.admission = Admission(config, counters)
        self.listening: tuple[str, int] | None = None
        self.encryption_thread = EncryptionThread()
        self._connection = config.connection
        self._sockets: set[Link] = set()
        self.handshake_thread = HandshakeThread(self._welcome)
        self.turns = Turns()
        self.memory = Memory(self._sockets)
        self._paused: dict[Link, None] = {}
        self._acceptors: list[Acceptor] = []
        self._settling: asyncio.TimerHandle | None = None

    @property
    def links(self) -> dict[bytes, Link]:
        """The links whose peers have shown who they are, by node id (64 bytes)."""
        return self.admission.links

    @property
    def peers(self) -> list[Link]:
        """The links that are ready."""
        return [link for link in self.links.values() if link.ready]

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Accept connections; answers the address in use (port 0 lets the system choose).

        The host `::` takes IPv4 too, where the system has it.
        """
        if host == "::" and socket.has_dualstack_ipv6():
            family = socket.AF_INET6
            own = socket.create_server(
                (host, port), family=family, backlog=BACKLOG, dualstack_ipv6=True
            )
            return self.listen_on(own)
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((each[0], each[4]) for each in found):
            listening = self.listen_on(
                socket.create_server(address, family=family, backlog=BACKLOG)
            )
        return listening

    def listen_on(self, own: socket.socket) -> tuple[str, int]:
        """Accept connections from a socket that listens already, and is closed with the node."""
        host, port, *_ = own.getsockname()
        self._acceptors.append(Acceptor(own, lambda: Link(self)))
        self.listening = host, port
        if not self._connection.port:
            self._connection = replace(self._connection, port=port)
        return self.listening

    def _welcome(self, has_room: bool) -> None:
        """Let more peers call, or leave them to wait in the backlog."""
        for acceptor in self._acceptors:
            acceptor.want(has_room)

    async def dial(self, enode: Enode) -> Link:
        """Connect to `enode`; the link is ready. OSError or PeerGone when it does not come."""
        loop = asyncio.get_running_loop()
        dial = Dial(enode, loop.create_future())
        connecting = loop.create_task(
            loop.create_connection(lambda: Link(self, dial), enode.host, enode.port)
        )
        try:
            # Shielded, for what uvloop cancels when it has just connected never tells the link.
            _, link = await asyncio.shield(connecting)
            await dial.ready
        except asyncio.CancelledError:
            dial.ready.cancel()
            connecting.add_done_callback(_part)
            raise
        return link

    def quiesce(self) -> None:
        """Take no more connections and no more packets."""
        self.listening = None
        for acceptor in self._acceptors:
            acceptor.close()
        if self._settling is not None:
            self._settling.cancel()
        self._paused.clear()
        for link in self._sockets:
            link.pause(Wait.NODE)

    async def close(self) -> None:
        """Say goodbye to every peer and wait until the sockets are closed."""
        self.quiesce()
        for acceptor in self._acceptors:
            await acceptor.wait_closed()
        for link in tuple(self._sockets):
            link.disconnect(DisconnectReason.QUITTING)
        while self._sockets:
            await next(iter(self._sockets)).gone()
        self.encryption_thread.close()
        self.handshake_thread.close()

    # -- what we are to the peers -------------------------------------------------------------

    def change_status(self, options: StatusOptions, rules: Rules) -> None:
        """Be another node from now on, and tell every peer what has changed.

        For TOLERANCE seconds envelopes are taken by the old rules too: peers do not know at once.
        """
        changed = self.status.change(options, rules)
        loop = asyncio.get_running_loop()
        if self._settling is not None:
            self._settling.cancel()
        self._settling = loop.call_later(TOLERANCE, self.status.settle)
        if changed is not None:
            self._update(iter(tuple(self.links.values())), changed)

    def _update(self, links: Iterator[Link], changed: StatusOptions) -> None:
        """Send Status Updates, some at a time."""
        some = list(islice(links, MAX_UPDATES_AT_ONCE))
        for link in some:
            link.update_status(changed)
        if some:
            asyncio.get_running_loop().call_soon(self._update, links, changed)

    def probe(self, identity: bytes) -> None:
        """Ask whether a peer is still there; it may have come back by another way."""
        if (link := self.links.get(identity)) is not None:
            link.probe()

    # -- back-pressure ------------------------------------------------------------------------

    def pause_reading(self, link: Link) -> None:
        """Read nothing more from a peer until `resume_reading`."""
        self._paused[link] = None
        link.pause(Wait.NODE)

    def resume_reading(self, wanted: Callable[[], bool]) -> None:
        """Read again from paused peers, one in each round of the loop, while more is wanted."""
        if self._paused and wanted():
            link = next(iter(self._paused))
            del self._paused[link]
            link.resume(Wait.NODE)
            asyncio.get_running_loop().call_soon(self.resume_reading, wanted)

    # -- for its links ------------------------------------------------------------------------

    def make_peer(self, link: Link, now: float) -> Peer:
        """A peer that has to keep to our limits."""
        remote = None if link.dial is None else public_key(link.dial.enode.node_id)
        connection = Connection(self._connection, os.urandom, now, remote)
        return Peer(connection, self.status, self.counters.add, self._gate(link))

    def _gate(self, link: Link) -> Callable[[int, int], None] | None:
        """What a packet has to pass; None where there are no limits."""
        traffic = self.config.traffic
        if traffic is None:
            return None

        def gate(code: int, size: int) -> None:
            traffic.check(link.node_id, link.address, size, time.monotonic())

        return gate

    def admit_socket(self, link: Link) -> None:
        """Take a new socket."""
        self._sockets.add(link)
        self.counters.add("connections_accepted")
        self.admission.admit_socket(link)

    def ended(self, link: Link, closed: Closed) -> None:
        """Count why a connection ended; its handshake goes no further."""
        self.admission.end_handshake(link)
        self.handshake_thread.remove(link)
        if closed.error is not None:
            self.counters.add(closed.error.counter)
        elif closed.reason is None:
            self.counters.add("connections_lost")
        elif closed.by_peer:
            self.counters.add("peers_disconnected_them")
        else:
            self.counters.add("peers_disconnected_us")

    def forget(self, link: Link) -> None:
        """A socket is closed."""
        self._sockets.discard(link)
        self._paused.pop(link, None)
        self.memory.forget(link)
        try:
            self.admission.leave(link)
        finally:
            if link.ready:
                self.handler.on_gone(link)


def _part(connecting: asyncio.Task[tuple[asyncio.Transport, Link]]) -> None:
    """Hang up again, if there is a connection at last."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result()[1].disconnect(DisconnectReason.REQUESTED)
