"""A node: listens, dials, and keeps the table of peers. It does not know what an archive is."""

import asyncio
import ipaddress
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

from wakumail.counters import Counters
from wakumail.devp2p.connection import Closed, Connection, ConnectionConfig
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import node_id, public_key
from wakumail.errors import DisconnectReason, ProtocolError
from wakumail.node.acceptor import Acceptor
from wakumail.node.handshake_thread import Handshaker
from wakumail.node.link import Dial, Link, Wait
from wakumail.node.outbox import StalledPeer
from wakumail.node.roster import Entry, OwnRoster, Roster
from wakumail.node.sealing_thread import Sealer
from wakumail.node.turns import Turns
from wakumail.waku.envelope import Rules
from wakumail.waku.own_status import TOLERANCE, OwnStatus
from wakumail.waku.packets import StatusOptions
from wakumail.waku.peer import Peer, PeerEvent
from wakumail.waku.rate_limits import Network, Traffic

MAX_RECEIVING = 256 << 20
"""Bytes of unfinished frames of all peers, above which the peer with the most is dropped."""

COMMON_BUFFER = 128 << 10
"""Bytes of a buffer that every busy peer may have; MAX_RECEIVING is about larger ones."""

MAX_SENDING = 256 << 20
"""Bytes that all peers together may leave unread. It is looked at whenever a quarter of it was
written; then those with the most are dropped until the next quarter has room."""

HOSTS_INTERVAL = 1.0
"""Seconds for which the guests of each host are not counted again, unless one was sent away: that
takes milliseconds, and a caller whom there is no room for takes no more than a packet."""

BACKLOG = 1024
"""Connections that may wait to be accepted."""

DIAL_TIMEOUT = 10.0
"""Seconds from the first SYN to the peer's status, for those who dial."""

UPDATES = 100
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


def listen_together(host: str, port: int, count: int) -> list[socket.socket]:
    """Sockets that share one port (SO_REUSEPORT), and what comes for it; they listen already.

    OSError when another process has the port, though it should share it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    dual = host == "::" and socket.has_dualstack_ipv6()
    if port:
        socket.create_server((host, port), family=family, dualstack_ipv6=dual).close()
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
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


class CrowdedOut(ProtocolError):
    """The peer holds the most of what has run short: handshake slots, memory for frames, peers."""

    counter = "connections_crowded_out"
    reason = DisconnectReason.TOO_MANY_PEERS


class Restricted(ProtocolError):
    """The peer is not in one of the networks that the operator allows."""

    counter = "connections_refused_restricted"
    reason = DisconnectReason.USELESS_PEER


class Node:
    """Listens, dials, and keeps the table of peers."""

    def __init__(self, config: NodeConfig, handler: Handler, counters: Counters) -> None:
        self.config = config
        self.handler = handler
        self.counters = counters
        self.status = OwnStatus(config.options, config.rules)
        self.links: dict[bytes, Link] = {}
        """The links whose peers have shown who they are, by node id (64 bytes)."""
        self.trusted: set[bytes] = set()
        """Node ids of peers that are never one too many, and may send p2p messages."""
        self.listening: tuple[str, int] | None = None
        self.sealer = Sealer()
        self._connection = config.connection
        self._own_id = node_id(config.connection.node_key.public_key)
        self._roster = config.roster or OwnRoster()
        self._sockets: set[Link] = set()
        self.handshaker = Handshaker(self._welcome)
        self.turns = Turns()
        self._shaking: dict[Link, None] = {}
        """Links whose handshake is not done, in the order in which they came."""
        self._paused: dict[Link, None] = {}
        self._receiving = 0
        self._written = 0
        """Bytes, since it was last looked at what is unread."""
        self._acceptors: list[Acceptor] = []
        self._hosts: Counter[str] = Counter()
        """Guests of each host, as last counted, and which of ours had the most."""
        self._crowded = ""
        self._count_hosts_at = 0.0
        self._settling: asyncio.TimerHandle | None = None
        self._emptied = asyncio.Event()

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
            self._emptied.clear()
            await self._emptied.wait()
        self.sealer.close()
        self.handshaker.close()

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
        some = list(islice(links, UPDATES))
        for link in some:
            link.update_status(changed)
        if some:
            asyncio.get_running_loop().call_soon(self._update, links, changed)

    def trust(self, identity: bytes) -> None:
        """Let this peer (64 bytes of node id) in beside maxpeers, and take its p2p messages."""
        self.trusted.add(identity)
        if (link := self.links.get(identity)) is not None:
            link.peer.trusted = True
            self._roster.set_guest(identity, None)

    def distrust(self, identity: bytes) -> None:
        """Take the trust back; a connection stays, and what was asked of it is not taken either."""
        self.trusted.discard(identity)
        if (link := self.links.get(identity)) is not None:
            link.peer.trusted = link.peer.expects_history = False
            self._roster.set_guest(identity, link.host if link.inbound else None)

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
        """Take a new socket; the oldest of the host with the most gives up its slot for it."""
        self._sockets.add(link)
        self.counters.add("connections_accepted")
        if len(self._shaking) >= self.config.max_handshakes:
            crowded, _ = Counter(other.host for other in self._shaking).most_common(1)[0]
            oldest = next(other for other in self._shaking if other.host == crowded)
            oldest.drop(CrowdedOut("too many handshakes in progress"))
        self._shaking[link] = None
        if self.config.netrestrict and link.address != link.local[0]:
            address = ipaddress.ip_address(link.address)
            if not any(address in network for network in self.config.netrestrict):
                link.drop(Restricted(f"{address} is in no network that may connect"))

    def admit_peer(self, link: Link) -> None:
        """Say hello to a peer that has shown who it is, or tell it why not."""
        self._shaking.pop(link, None)
        connection = link.peer.connection
        if link.node_id == self._own_id:
            self.counters.add("connections_refused_self")
            connection.disconnect(DisconnectReason.SELF_CONNECTION)
            return
        match self._enter(link):
            case Entry.DUPLICATE:
                self.counters.add("connections_refused_duplicate")
                connection.disconnect(DisconnectReason.ALREADY_CONNECTED)
            case Entry.FULL:
                self.counters.add("connections_refused_full")
                connection.disconnect(DisconnectReason.TOO_MANY_PEERS)
            case Entry.DONE:
                self.links[link.node_id] = link
                link.peer.trusted = link.node_id in self.trusted
                connection.accept()

    def _enter(self, link: Link) -> Entry:
        """Take in a peer that has shown who it is, if it is not here yet and there is room."""
        if link.node_id in self.links:
            # A phone that lost its network comes back before its old connection timed out.
            self.probe(link.node_id)
            return Entry.DUPLICATE
        limit = self.config.maxpeers if self._is_guest(link) else None
        entry = self._roster.enter(link.node_id, link.host, limit)
        if entry is Entry.FULL and limit is not None and (other := self._one_too_many(link.host)):
            self._leave(other)
            other.fail(CrowdedOut("the last of the most peers of one host"))
            entry = self._roster.enter(link.node_id, link.host, limit)
        return entry

    def _is_guest(self, link: Link) -> bool:
        return link.inbound and link.node_id not in self.trusted

    def _one_too_many(self, host: str) -> Link | None:
        """Our last guest of the host with the most, if that has more than `host` with one more.

        A host whose guests are all at other processes of the server is theirs to deal with.
        """
        now = asyncio.get_running_loop().time()
        if now >= self._count_hosts_at:
            self._hosts = self._roster.hosts()
            ours = {link.host for link in self.links.values() if self._is_guest(link)}
            self._crowded = max(ours, key=self._hosts.__getitem__, default="")
            self._count_hosts_at = now + HOSTS_INTERVAL
        if self._hosts[self._crowded] <= self._hosts[host] + 1:
            return None
        self._count_hosts_at = now
        guests = filter(self._is_guest, reversed(self.links.values()))
        return next((link for link in guests if link.host == self._crowded), None)

    def _leave(self, link: Link) -> None:
        """Take a peer off the table, if it is there."""
        if self.links.get(link.node_id) is link:
            del self.links[link.node_id]
            self._roster.leave(link.node_id)

    def count_receiving(self, link: Link, size: int) -> None:
        """`link` has a buffer of `size` bytes now; all of them together are bounded."""
        size = size if size > COMMON_BUFFER else 0
        self._receiving += size - link.receiving
        link.receiving = size
        if self._receiving > MAX_RECEIVING:
            greediest = max(self._sockets, key=lambda other: other.receiving)
            greediest.drop(CrowdedOut("the most of too many bytes of unfinished frames"))

    def count_written(self, size: int) -> None:
        """`size` bytes more were written to some peer; what all leave unread is bounded."""
        self._written += size
        if self._written > MAX_SENDING // 4:
            self._written = 0
            self._drop_unread()

    def _drop_unread(self) -> None:
        """Drop those who leave the most unread, beginning with the host that does, if need be."""
        unread = {link: link.outbox.unread for link in self._sockets}
        excess = sum(unread.values()) - MAX_SENDING * 3 // 4
        if excess <= 0:
            return
        hosts: Counter[str] = Counter()
        for link, size in unread.items():
            hosts[link.host] += size
        for link in sorted(unread, key=lambda each: (-hosts[each.host], -unread[each])):
            link.drop(StalledPeer("the most of too many bytes unread by all peers"))
            excess -= unread[link]
            if excess <= 0:
                return

    def ended(self, link: Link, closed: Closed) -> None:
        """Count why a connection ended; its handshake goes no further."""
        self._shaking.pop(link, None)
        self.handshaker.remove(link)
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
        if not self._sockets:
            self._emptied.set()
        self._paused.pop(link, None)
        self._receiving -= link.receiving
        link.receiving = 0
        try:
            self._leave(link)
        finally:
            if link.ready:
                self.handler.on_gone(link)


def _part(connecting: asyncio.Task[tuple[asyncio.Transport, Link]]) -> None:
    """Hang up again, if there is a connection at last."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result()[1].disconnect(DisconnectReason.REQUESTED)
