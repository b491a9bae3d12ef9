"""The uvloop shell: sockets, timers and the table of peers. The one file that touches transports.

A Link joins one transport to one Peer. Bytes come in through the buffer of the connection's
frame codec, events go to the handler, and what the connection has to send goes out. Nothing
here knows what an archive is.
"""

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, cast

from wakumail.connection import Authenticated, Closed, Connection, ConnectionConfig
from wakumail.counters import Counters
from wakumail.enode import Enode
from wakumail.envelope import Rules
from wakumail.errors import DisconnectReason, PeerGone, ProtocolError
from wakumail.keys import node_id, public_key
from wakumail.peer import Event, Peer, Ready
from wakumail.waku import StatusOptions

log = logging.getLogger(__name__)

WRITE_TIMEOUT = 20.0
"""Seconds within which a peer has to read MIN_PROGRESS of a full write buffer (Go gives 20 s)."""

MIN_PROGRESS = 64 << 10
"""Bytes: a phone on a bad line reads so much in WRITE_TIMEOUT."""

WRITE_HIGH_WATER = 256 << 10
"""Bytes unread by a peer above which `drain` waits."""

MAX_UNREAD = 8 << 20
"""Bytes unread by a peer above which it is dropped: confirmations cannot pile up without bound."""

MAX_RECEIVING = 256 << 20
"""Bytes of unfinished frames of all peers, above which the peer with the most is dropped."""

COMMON_BUFFER = 128 << 10
"""Bytes of a buffer that every busy peer may have; MAX_RECEIVING is about larger ones."""

TURN = 0.005
"""Seconds of events that a link may take before the others get their turn."""

CLOSE_TIMEOUT = 2.0
"""Seconds that a Disconnect packet has to leave before the socket is closed over it (RLPx)."""


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What a node is to its peers."""

    connection: ConnectionConfig
    options: StatusOptions = field(default_factory=StatusOptions)
    rules: Rules = field(default_factory=Rules)
    max_peers: int = 5000
    max_handshakes: int = 1024


class Handler(Protocol):
    """Who owns a node: the mailserver, or the client library."""

    def on_event(self, link: "Link", event: Event) -> None:
        """A peer that is ready did something; Ready is the first. A ProtocolError ends it."""

    def on_gone(self, link: "Link") -> None:
        """A peer that was ready is no longer there."""


class StalledPeer(ProtocolError):
    """The peer does not read what it is sent."""

    counter = "connections_stalled"
    reason = DisconnectReason.TCP_ERROR


class CrowdedOut(ProtocolError):
    """The peer holds the most of what has run short: handshake slots, or memory for frames."""

    counter = "connections_crowded_out"
    reason = DisconnectReason.TOO_MANY_PEERS


class Link(asyncio.BufferedProtocol):
    """One transport and the peer behind it."""

    def __init__(self, node: "Node", remote: Enode | None = None) -> None:
        self.node_id = b""
        self.address = ""
        self.ready = False
        self.peer: Peer
        self.closed: Closed | None = None
        self._node = node
        self._remote = remote
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._opened: asyncio.Future[None] | None = (
            None if remote is None else self._loop.create_future()
        )
        self.receiving = 0
        """Bytes of its buffer for frames, as the node counts them."""
        self._paused = False
        self._resting = False
        self._room = asyncio.Event()
        self._room.set()
        self._stalled_until: float | None = None
        self._unread = 0
        self._timer: asyncio.Handle | None = None
        self._due = 0.0

    # -- for the handler ----------------------------------------------------------------------

    def flush(self) -> None:
        """Write what the peer's connection has to send."""
        data = self.peer.connection.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.writelines(data)
            if self._transport.get_write_buffer_size() > MAX_UNREAD:
                self.drop(StalledPeer(f"more than {MAX_UNREAD} bytes unread"))

    async def drain(self) -> None:
        """Flush, and wait until the peer has read most of it; PeerGone when it never will."""
        self.flush()
        await self._room.wait()
        if self.closed is not None:
            raise PeerGone(describe(self.closed))

    def pause(self) -> None:
        """Stop reading from the peer; what it sent already stays where it is."""
        self._paused = True
        self._read(False)

    def resume(self) -> None:
        """Read again, beginning with what is buffered."""
        self._paused = False
        self.peer.connection.touch(self._loop.time())
        self._read(not self._resting)
        self._pump()

    def disconnect(self, reason: DisconnectReason) -> None:
        """Say goodbye and close; what came and was not looked at yet is dropped."""
        self._paused = self._resting = False
        self.peer.connection.disconnect(reason)
        self._pump()

    def drop(self, error: ProtocolError) -> None:
        """Close at once: the peer does not read what we would say."""
        self._paused = self._resting = False
        self.peer.connection.fail(error)
        self._pump()
        self._transport.abort()

    async def opened(self) -> None:
        """Wait until an outgoing link is ready; PeerGone with the reason when it fails."""
        assert self._opened is not None
        await self._opened

    # -- asyncio.BufferedProtocol -------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open: begin the handshake, if there is room for one more."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self.address = str((transport.get_extra_info("peername") or ("?",))[0])
        config = self._node.config
        connection = Connection(
            config.connection,
            os.urandom,
            self._loop.time(),
            None if self._remote is None else public_key(self._remote.node_id),
        )
        self.peer = Peer(connection, config.options, config.rules, self._node.counters.add)
        self._node.admit_socket(self)
        self._pump()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go: the connection's own buffer, so nothing is copied."""
        return self.peer.connection.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        self.peer.connection.buffer_updated(nbytes, self._loop.time())
        self._pump()
        self._node.count_receiving(self, self.peer.connection.capacity)

    def eof_received(self) -> bool:
        """The peer sends no more."""
        self.peer.connection.eof(self._loop.time())
        self._pump()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed: take what came before, or drop it if there is no room for it."""
        self.peer.connection.eof(self._loop.time())
        while self.closed is None:
            if self._paused:
                self.peer.connection.abandon()
            self._paused = self._resting = False
            self._pump()
        if self._timer is not None:
            self._timer.cancel()
        self._room.set()
        self._node.forget(self)

    def pause_writing(self) -> None:
        """The peer reads more slowly than we write."""
        self._room.clear()
        self._unread = self._transport.get_write_buffer_size()
        self._stalled_until = self._loop.time() + WRITE_TIMEOUT
        self._arm_timer()

    def resume_writing(self) -> None:
        """The peer has read most of it."""
        self._stalled_until = None
        self._room.set()

    # -- the middle ---------------------------------------------------------------------------

    def _pump(self) -> None:
        """Take events until there are none, the handler pauses this link, or TURN is over."""
        turn_ends = time.monotonic() + TURN
        while not self._paused and not self._resting and self.closed is None:
            event = self.peer.next_event(self._loop.time(), int(time.time()))
            if event is None:
                break
            self._on_event(event)
            if time.monotonic() > turn_ends:
                self._rest()
        self.flush()
        self._arm_timer()

    def _rest(self) -> None:
        """Let the others have their turn, then go on."""
        self._resting = True
        self._read(False)
        self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._resting:
            self._resting = False
            self._read(not self._paused)
            self._pump()

    def _read(self, wanted: bool) -> None:
        if self._transport.is_closing() or wanted == self._transport.is_reading():
            return
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _on_event(self, event: Event) -> None:
        match event:
            case Authenticated(identity):
                self.node_id = identity
                self._node.admit_peer(self)
            case Closed():
                self._on_closed(event)
            case _:
                if isinstance(event, Ready):
                    self._on_ready()
                try:
                    self._node.handler.on_event(self, event)
                except ProtocolError as error:
                    self.peer.connection.fail(error)

    def _on_ready(self) -> None:
        self.ready = True
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(None)

    def _on_closed(self, event: Closed) -> None:
        self.closed = event
        self._node.count_end(event)
        self.flush()
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(PeerGone(describe(event)))
        self._room.set()
        if not self._transport.is_closing():
            self._transport.close()
            self._loop.call_later(CLOSE_TIMEOUT, self._transport.abort)

    def _arm_timer(self) -> None:
        if self.closed is not None:
            return
        times = (self.peer.next_timer(), self._stalled_until)
        due = min((t for t in times if t is not None), default=None)
        if due is not None and (self._timer is None or due < self._due):
            if self._timer is not None:
                self._timer.cancel()
            self._due = due
            self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._loop.time()
        if self._stalled_until is not None and now >= self._stalled_until:
            unread = self._transport.get_write_buffer_size()
            if unread > self._unread - MIN_PROGRESS:
                self.drop(StalledPeer(f"less than {MIN_PROGRESS} bytes read in {WRITE_TIMEOUT} s"))
                return
            self._unread, self._stalled_until = unread, now + WRITE_TIMEOUT
        if self._paused or self._resting:
            # It is we who do not read: the peer is not silent, and must not take us for it.
            self.peer.connection.touch(now)
        self.peer.handle_timer(now)
        self._pump()


class Node:
    """Listens, dials, and keeps the table of peers."""

    def __init__(self, config: NodeConfig, handler: Handler, counters: Counters) -> None:
        self.config = config
        self.handler = handler
        self.counters = counters
        self.links: dict[bytes, Link] = {}
        """The links whose peers have shown who they are, by node id (64 bytes)."""
        self._own_id = node_id(config.connection.node_key.public_key)
        self._sockets: set[Link] = set()
        self._shaking: dict[Link, None] = {}
        self._held: dict[Link, None] = {}
        self._receiving = 0
        self._server: asyncio.Server | None = None
        self._emptied = asyncio.Event()

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Accept connections; answers the address in use (port 0 lets the system choose)."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Link(self), host, port, backlog=1024)
        address = self._server.sockets[0].getsockname()
        return address[0], address[1]

    async def dial(self, enode: Enode) -> Link:
        """Connect to `enode`; the link is ready. OSError or PeerGone when it does not come."""
        loop = asyncio.get_running_loop()
        _, link = await loop.create_connection(lambda: Link(self, enode), enode.host, enode.port)
        await link.opened()
        return link

    def quiesce(self) -> None:
        """Take no more connections and no more packets."""
        if self._server is not None:
            self._server.close()
        self._held.clear()
        for link in self._sockets:
            link.pause()

    async def close(self) -> None:
        """Say goodbye to every peer and wait until the sockets are closed."""
        self.quiesce()
        for link in tuple(self._sockets):
            link.disconnect(DisconnectReason.QUITTING)
        while self._sockets:
            self._emptied.clear()
            await self._emptied.wait()
        if self._server is not None:
            await self._server.wait_closed()

    # -- back-pressure ------------------------------------------------------------------------

    def hold(self, link: Link) -> None:
        """Stop reading from a peer until `release`."""
        self._held[link] = None
        link.pause()

    def release(self, wanted: Callable[[], bool]) -> None:
        """Read again from the held peers, one a turn, while more is wanted."""
        if self._held and wanted():
            link = next(iter(self._held))
            del self._held[link]
            link.resume()
            asyncio.get_running_loop().call_soon(self.release, wanted)

    # -- for the links ------------------------------------------------------------------------

    def admit_socket(self, link: Link) -> None:
        """Take a new socket; the oldest of the address with the most gives up its slot for it."""
        self._sockets.add(link)
        self.counters.add("connections_accepted")
        if len(self._shaking) >= self.config.max_handshakes:
            crowded, _ = Counter(other.address for other in self._shaking).most_common(1)[0]
            oldest = next(other for other in self._shaking if other.address == crowded)
            oldest.drop(CrowdedOut("too many handshakes in progress"))
        self._shaking[link] = None

    def admit_peer(self, link: Link) -> None:
        """Say hello to a peer that has shown who it is, or tell it why not."""
        self._shaking.pop(link, None)
        connection = link.peer.connection
        if link.node_id == self._own_id:
            self.counters.add("connections_refused_self")
            connection.disconnect(DisconnectReason.SELF_CONNECTION)
        elif (known := self.links.get(link.node_id)) is not None:
            # A phone that lost its network comes back before its old connection timed out.
            known.peer.connection.probe(asyncio.get_running_loop().time())
            known.flush()
            self.counters.add("connections_refused_duplicate")
            connection.disconnect(DisconnectReason.ALREADY_CONNECTED)
        elif len(self.links) >= self.config.max_peers:
            self.counters.add("connections_refused_full")
            connection.disconnect(DisconnectReason.TOO_MANY_PEERS)
        else:
            self.links[link.node_id] = link
            connection.accept()

    def count_receiving(self, link: Link, size: int) -> None:
        """`link` has a buffer of `size` bytes now; all of them together are bounded."""
        size = size if size > COMMON_BUFFER else 0
        self._receiving += size - link.receiving
        link.receiving = size
        if self._receiving > MAX_RECEIVING:
            greediest = max(self._sockets, key=lambda other: other.receiving)
            greediest.drop(CrowdedOut("the most of too many bytes of unfinished frames"))

    def count_end(self, closed: Closed) -> None:
        """Count why a connection ended."""
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
        self._shaking.pop(link, None)
        self._held.pop(link, None)
        self._receiving -= link.receiving
        link.receiving = 0
        if self.links.get(link.node_id) is link:
            del self.links[link.node_id]
        if link.ready:
            self.handler.on_gone(link)
        if not self._sockets:
            self._emptied.set()


def describe(closed: Closed) -> str:
    """Why a connection ended, for a person."""
    if closed.error is not None:
        return str(closed.error) or closed.error.counter
    if closed.reason is None:
        return "the connection was lost"
    try:
        text = DisconnectReason(closed.reason).name.lower().replace("_", " ")
    except ValueError:
        text = f"reason {closed.reason}"
    return f"disconnected by {'the peer' if closed.by_peer else 'us'}: {text}"
