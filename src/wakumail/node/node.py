"""A node: listens, dials, and has the parts that its links share. It knows no archive."""

import asyncio
import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

from wakumail.base.turns import Turns
from wakumail.counters import Counters
from wakumail.devp2p.addresses import Network
from wakumail.devp2p.connection import Connection, ConnectionConfig
from wakumail.devp2p.connection_events import Closed
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import public_key
from wakumail.devp2p.packets import SYNC
from wakumail.errors import DisconnectReason
from wakumail.node.acceptor import Acceptor, open_listeners
from wakumail.node.admission import Admission
from wakumail.node.encryption_thread import EncryptionThread
from wakumail.node.handshake_thread import HandshakeThread
from wakumail.node.link import Dial, Link, Wait
from wakumail.node.memory import Memory
from wakumail.node.roster import Roster
from wakumail.waku.envelope import Rules
from wakumail.waku.own_status import TOLERANCE, OwnStatus
from wakumail.waku.packets import StatusOptions
from wakumail.waku.peer import Peer
from wakumail.waku.peer_events import PeerEvent
from wakumail.waku.rate_limits import IncomingLimits

DIAL_TIMEOUT = 10.0
"""Seconds that a caller gives a dial, from the first SYN to the peer's status."""

MAX_UPDATES_AT_ONCE = 100
"""Status updates that are sent in one round of the event loop."""


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """The status, the limits and the network of a node."""

    connection: ConnectionConfig
    options: StatusOptions
    rules: Rules
    maxpeers: int
    """Guests, that is peers that called us. Trusted peers and those that we call do not count."""
    max_handshakes: int
    netrestrict: tuple[Network, ...]
    """Networks that may connect, beside this machine; none: all."""
    incoming_limits: IncomingLimits | None
    """Limits what peers may send; None: no limits."""
    max_descriptor: int | None = None
    """Callers whose socket has this descriptor or a greater one are refused; None: no limit. The
    system gives the lowest that is free, so that those above stay free for others."""
    roster: Roster | None = None
    """The peers of all workers; None if this process is the only one."""


class Handler(Protocol):
    """The owner of a node: the server, or the client library."""

    def on_event(self, link: Link, event: PeerEvent) -> None:
        """An event of a peer, the first is Ready. A ProtocolError from here ends the connection."""

    def on_writable(self, link: Link) -> None:
        """A peer that had left too much unread has read most of it."""

    def on_gone(self, link: Link) -> None:
        """The connection of a peer that was ready has ended."""


class Node:
    """Listens, dials, and has the parts that its links share."""

    def __init__(self, config: NodeConfig, handler: Handler, counters: Counters) -> None:
        self.config = config
        self.handler = handler
        self.counters = counters
        self.status = OwnStatus(config.options, config.rules)
        self.admission = Admission(config, counters)
        self.admission.on_handshake_slot = self._begin_parked
        self.listening: tuple[str, int] | None = None
        self.encryption_thread = EncryptionThread()
        self._connection = replace(config.connection, reserved={SYNC: self.admission.syncing})
        self._sockets: set[Link] = set()
        self.handshake_thread = HandshakeThread(self._begin_parked)
        self.turns = Turns()
        self.memory = Memory(self._sockets)
        self._paused: dict[Link, None] = {}
        self._acceptors: list[Acceptor] = []
        self._settling: asyncio.TimerHandle | None = None

    @property
    def own_id(self) -> bytes:
        """Our own node id, 64 bytes."""
        return self.admission.own_id

    @property
    def links(self) -> dict[bytes, Link]:
        """The links of admitted peers, by node id (64 bytes)."""
        return self.admission.links

    @property
    def peers(self) -> list[Link]:
        """The links that are ready."""
        return [link for link in self.links.values() if link.ready]

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Accept connections; the address in use (see open_listeners)."""
        for own in await open_listeners(host, port):
            listening = self.listen_on(own)
        return listening

    def listen_on(self, own: socket.socket) -> tuple[str, int]:
        """Accept connections from a socket that listens already. The node closes it at its end."""
        host, port, *_ = own.getsockname()
        acceptor = Acceptor(
            own,
            lambda: Link(self),
            self._has_slot,
            lambda: self.counters.add("connections_crowded_out"),
            max_descriptor=self.config.max_descriptor,
            on_no_files=lambda: self.counters.add("connections_refused_files"),
        )
        self._acceptors.append(acceptor)
        self.listening = host, port
        if not self._connection.port:
            self._connection = replace(self._connection, port=port)
        return self.listening

    def _has_slot(self, host: str) -> bool:
        """True if one more caller of a host may begin its handshake."""
        return self.admission.has_handshake_slot(host) and self.handshake_thread.has_room(host)

    def _begin_parked(self) -> None:
        """Let callers begin their handshakes that wait for others."""
        if not self.handshake_thread.is_full:
            for acceptor in self._acceptors:
                acceptor.begin_parked()

    async def dial(self, enode: Enode) -> Link:
        """Connect to `enode`, until the link is ready. OSError or PeerGone when that fails."""
        loop = asyncio.get_running_loop()
        dial = Dial(enode, loop.create_future())
        connecting = loop.create_task(
            loop.create_connection(lambda: Link(self, dial), enode.host, enode.port)
        )
        try:
            # Shielded: if uvloop cancels a connection that was just made, the link never learns it.
            transport, link = await asyncio.shield(connecting)
            if self._is_for_operator(transport):
                dial.ready.cancel()
                transport.abort()
                raise OSError(errno.EMFILE, "the files that are left are for the operator")
            await dial.ready
        except asyncio.CancelledError:
            dial.ready.cancel()
            connecting.add_done_callback(_part)
            raise
        return link

    def _is_for_operator(self, transport: asyncio.Transport) -> bool:
        """True, and counted, for a connection with a file that peers are not to have."""
        most, own = self.config.max_descriptor, transport.get_extra_info("socket")
        beyond = most is not None and own.fileno() >= most
        self.counters.add("connections_refused_files", beyond)
        return beyond

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

    # -- status -------------------------------------------------------------------------------

    def configure(self, config: NodeConfig) -> None:
        """Take other limits of peers. Status and rules change with `change_status`.

        Where there were no rate limits, those of packets hold for later connections only.
        """
        self.config = self.admission.config = config

    def change_status(self, options: StatusOptions, rules: Rules) -> None:
        """Change our status and rules, and tell every peer.

        For TOLERANCE seconds envelopes are taken by the old rules too: peers learn of it later.
        """
        self.status.change(options, rules)
        loop = asyncio.get_running_loop()
        if self._settling is not None:
            self._settling.cancel()
        self._settling = loop.call_later(TOLERANCE, self.status.settle)
        self._update(iter(tuple(self.links.values())))

    def _update(self, links: Iterator[Link]) -> None:
        """Send Status Updates, MAX_UPDATES_AT_ONCE in each round of the loop."""
        some = list(islice(links, MAX_UPDATES_AT_ONCE))
        for link in some:
            link.update_status()
        if some:
            asyncio.get_running_loop().call_soon(self._update, links)

    def probe(self, identity: bytes) -> None:
        """Ping a peer that may have left: another worker was called from its node id."""
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
        """A new peer, with our status and limits. `now` is the loop's clock."""
        remote = None if link.dial is None else public_key(link.dial.enode.node_id)
        connection = Connection(self._connection, os.urandom, now, remote)
        return Peer(connection, self.status, self.counters.add, self._gate(link.address))

    def _gate(self, address: str) -> Callable[[bytes, int], None] | None:
        """A check for each packet of a peer; None if there are no limits.

        It does not hold the link, which holds it: an ended link must be no cyclic garbage.
        """
        if self.config.incoming_limits is None:
            return None

        def gate(node_id: bytes, size: int) -> None:
            if (limits := self.config.incoming_limits) is not None:
                limits.check(node_id, address, size, time.monotonic())

        return gate

    def admit_socket(self, link: Link) -> None:
        """Note a new socket, and let it shake hands if there is room."""
        self._sockets.add(link)
        self.counters.add("connections_accepted")
        self.admission.admit_socket(link)

    def ended(self, link: Link, closed: Closed) -> None:
        """Count the end of a connection by its reason, and stop its handshake."""
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
        """Forget a link whose socket is closed."""
        self._sockets.discard(link)
        self._paused.pop(link, None)
        self.memory.forget(link)
        try:
            self.admission.leave(link)
        finally:
            if link.ready:
                self.handler.on_gone(link)


def _part(connecting: asyncio.Task[tuple[asyncio.Transport, Link]]) -> None:
    """Hang up on a connection that was made after its dial was cancelled."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result()[1].disconnect(DisconnectReason.REQUESTED)
