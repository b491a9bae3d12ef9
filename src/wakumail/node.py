"""The uvloop shell: sockets, timers and the table of peers. The one file that touches transports.

A Link joins one transport to one Peer. Bytes come in through the buffer of the connection's
frame codec, events go to the handler, and what the connection has to send goes out. Nothing
here knows what an archive is.
"""

import asyncio
import logging
import os
import time
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
"""Seconds that a peer may let its full write buffer wait before it is dropped (Go gives 20 s)."""

WRITE_HIGH_WATER = 256 << 10
"""Bytes unread by a peer above which `drain` waits."""

MAX_UNREAD = 8 << 20
"""Bytes unread by a peer above which it is dropped: confirmations cannot pile up without bound."""

CLOSE_TIMEOUT = 2.0
"""Seconds that a Disconnect packet has to leave before the socket is closed over it (RLPx)."""


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What a node is to its peers."""

    connection: ConnectionConfig
    options: StatusOptions = field(default_factory=StatusOptions)
    rules: Rules = field(default_factory=Rules)
    max_peers: int = 5000
    max_handshakes: int = 64


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
        self._paused = False
        self._room = asyncio.Event()
        self._room.set()
        self._stalled_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    # -- for the handler ----------------------------------------------------------------------

    def flush(self) -> None:
        """Write what the peer's connection has to send."""
        data = self.peer.connection.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.writelines(data)
            if self._transport.get_write_buffer_size() > MAX_UNREAD:
                self._drop(StalledPeer(f"more than {MAX_UNREAD} bytes unread"))

    async def drain(self) -> None:
        """Flush, and wait until the peer has read most of it; PeerGone when it never will."""
        self.flush()
        await self._room.wait()
        if self.closed is not None:
            raise PeerGone(describe(self.closed))

    def pause(self) -> None:
        """Stop reading from the peer; what it sent already stays where it is."""
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again, beginning with what is buffered."""
        if self._paused:
            self._paused = False
            self.peer.connection.touch(self._loop.time())
            if not self._transport.is_closing():
                self._transport.resume_reading()
            self._pump()

    def disconnect(self, reason: DisconnectReason) -> None:
        """Say goodbye and close; what came and was not looked at yet is dropped."""
        self._paused = False
        self.peer.connection.disconnect(reason)
        self._pump()

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
        if not self._node.admit_socket(self):
            self.closed = Closed(None, by_peer=False)
            self._transport.abort()
            return
        self._pump()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go: the connection's own buffer, so nothing is copied."""
        return self.peer.connection.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        self.peer.connection.buffer_updated(nbytes, self._loop.time())
        self._pump()

    def eof_received(self) -> bool:
        """The peer sends no more."""
        self.peer.connection.eof(self._loop.time())
        self._pump()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self.peer.connection.eof(self._loop.time())
        self._paused = False
        self._pump()
        if self._timer is not None:
            self._timer.cancel()
        self._room.set()
        self._node.forget(self)

    def pause_writing(self) -> None:
        """The peer reads more slowly than we write."""
        self._room.clear()
        self._stalled_since = self._loop.time()
        self._arm_timer()

    def resume_writing(self) -> None:
        """The peer has read most of it."""
        self._stalled_since = None
        self._room.set()

    # -- the middle ---------------------------------------------------------------------------

    def _pump(self) -> None:
        """Take events until the bytes are used up, or the handler pauses this link."""
        while not self._paused and self.closed is None:
            event = self.peer.next_event(self._loop.time(), int(time.time()))
            if event is None:
                break
            self._on_event(event)
        self.flush()
        self._arm_timer()

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
        self._node.finish_handshake(self)
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

    def _drop(self, error: ProtocolError) -> None:
        self.peer.connection.fail(error)
        self._paused = False
        self._transport.abort()

    def _due(self) -> float | None:
        """When something is to be done without the peer's doing."""
        stalled = None if self._stalled_since is None else self._stalled_since + WRITE_TIMEOUT
        return min((t for t in (self.peer.next_timer(), stalled) if t is not None), default=None)

    def _arm_timer(self) -> None:
        due = None if self.closed is not None else self._due()
        if due is not None and (self._timer is None or due < self._timer.when()):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._loop.time()
        if self._stalled_since is not None and now >= self._stalled_since + WRITE_TIMEOUT:
            self._drop(StalledPeer(f"nothing read for {WRITE_TIMEOUT:.0f} s"))
            return
        if self._paused:
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
        self._shaking: set[Link] = set()
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
        for link in tuple(self._sockets):
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

    # -- for the links ------------------------------------------------------------------------

    def admit_socket(self, link: Link) -> bool:
        """Take a new socket, unless too many handshakes are in progress."""
        self._sockets.add(link)
        if len(self._shaking) >= self.config.max_handshakes:
            self.counters.add("connections_refused_handshakes")
            return False
        self._shaking.add(link)
        self.counters.add("connections_accepted")
        return True

    def admit_peer(self, link: Link) -> None:
        """Say hello to a peer that has shown who it is, or tell it why not."""
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

    def finish_handshake(self, link: Link) -> None:
        """The link is ready, or gone."""
        self._shaking.discard(link)

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
        self.finish_handshake(link)
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
