"""A link: one transport and the Waku peer behind it.

Bytes come in through the buffer of the connection's frame reader, events go to
the node (node.py) and its handler, and what the connection has to send goes out.
"""

import asyncio
import time
from contextlib import suppress
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple, cast

from wakumail.devp2p.connection import Authenticated, Closed, Uneventful
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.handshake import HandshakeStep, StepResult
from wakumail.errors import DisconnectReason, PeerGone, ProtocolError
from wakumail.waku.packets import StatusOptions
from wakumail.waku.peer import Peer, PeerEvent, Ready, SettingsChanged
from wakumail.waku.rate_limits import Pace, host_of

if TYPE_CHECKING:
    from wakumail.node.node import Node

WRITE_TIMEOUT = 20.0
"""Seconds within which a peer has to read MIN_PROGRESS of a full write buffer (Go gives 20 s)."""

MIN_PROGRESS = 64 << 10
"""Bytes: a phone on a bad line reads so much in WRITE_TIMEOUT."""

WRITE_HIGH_WATER = 256 << 10
"""Bytes unread by a peer above which `drain` waits."""

MAX_UNREAD = 8 << 20
"""Bytes unread by a peer above which it is dropped: confirmations cannot pile up without bound.
Those of all peers together have a bound of their own (see node.py)."""

SEAL_AT_ONCE = 64 << 10
"""Bytes that the loop seals itself, in some 0.15 ms; that a thread does it costs a third of it."""

LITTLE = 8 << 10
"""Bytes from a peer that are looked at as they come, as a request: whoever has sent more waits for
its turn when the busy ones have had what is theirs of a round."""

ANSWERS_UNREAD = 2 << 20
"""Bytes unread by a peer above which nothing more is read from it until it has read most of that:
confirmations must be what it leaves, for history and the relay stop before."""

CLOSE_TIMEOUT = 2.0
"""Seconds that a Disconnect packet has to leave before the socket is closed over it (RLPx)."""


class StalledPeer(ProtocolError):
    """The peer does not read what it is sent."""

    counter = "connections_stalled"
    reason = DisconnectReason.TCP_ERROR


class Wait(Enum):
    """Reasons to read nothing more from a peer; what it has sent already waits."""

    HANDSHAKE = auto()
    """A step of the handshake is computed beside the loop."""
    TURN = auto()
    """Other busy links have their turn."""
    NODE = auto()
    """The node takes no more packets: the store is full, or the node is about to stop."""
    PEER = auto()
    """The peer leaves too much unread."""


class Dial(NamedTuple):
    """A connection that we open."""

    enode: Enode
    ready: asyncio.Future[None]
    """Done once the peer is ready; PeerGone if the connection ends before."""


class Link(asyncio.BufferedProtocol):
    """One transport and the peer behind it."""

    def __init__(self, node: "Node", dial: Dial | None = None) -> None:
        self.node_id = b""
        self.dial = dial
        """None for a peer that called us."""
        self.address, self.port = "", 0
        """Where the peer's socket is."""
        self.host = ""
        """The address, or the network that it stands for (see traffic.py)."""
        self.local = ("", 0)
        """Address and port of our end."""
        self.ready = False
        self.peer: Peer
        self.closed: Closed | None = None
        self.pace: Pace
        """How fast the peer may be sent envelopes, once it is ready."""
        self.receiving = 0
        """Bytes of its buffer for frames, as the node counts them."""
        self._node = node
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._gone = asyncio.Event()
        self._waits: set[Wait] = set()
        """If there are any, no event is taken but the end of the connection."""
        self._flushing = False
        self._sealing = False
        self._full = False
        self._room = asyncio.Event()
        self._room.set()
        self._written = 0
        self._read_before = 0
        self._stalled_until: float | None = None
        self._timer: asyncio.Handle | None = None
        self._due = 0.0

    # -- for the node, and those above ------------------------------------------------------------

    def flush_soon(self) -> None:
        """Flush in the loop's next turn: all that is sent until then leaves in one write."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what the peer's connection has to send, or have it sealed first if it is long."""
        self._flushing = False
        if self._transport.is_closing():
            return
        if self._sealing:  # what waits goes behind that
            self._check_unread()
            return
        connection = self.peer.connection
        if connection.unencrypted > SEAL_AT_ONCE:
            assert connection.writer is not None
            self._sealing = True
            self._room.clear()
            self._node.sealer.seal(connection.writer, self._on_sealed)
        elif data := connection.data_to_send():
            self._write(data)

    def probe(self) -> None:
        """Ping the peer, and give it up soon if it is not there any more."""
        self.peer.connection.probe(self._loop.time())
        self._pump()

    def update_status(self, changed: StatusOptions) -> None:
        """Tell the peer how we have changed; the connection may end over it."""
        self.peer.update_status(changed)
        self._pump()

    async def drain(self) -> None:
        """Flush, and wait until the peer has read most of it; PeerGone when it never will."""
        self.flush()
        if self.closed is None:
            await self._room.wait()
        if self.closed is not None:
            raise PeerGone(describe(self.closed))

    async def turn(self) -> None:
        """Flush, and wait until the peer takes one more packet of envelopes; PeerGone.

        It has read most of what it was sent then, and is sent no more than it takes in a second.
        """
        await self.drain()
        while delay := self.pace.delay(self._loop.time()):
            with suppress(TimeoutError):
                await asyncio.wait_for(self.gone(), delay)
            await self.drain()

    def pause(self, wait: Wait) -> None:
        """Stop reading from the peer; what it sent already stays where it is."""
        self._waits.add(wait)
        self._set_reading()

    def resume(self, wait: Wait) -> None:
        """Read again, beginning with what is buffered, unless that waits for something else too."""
        if wait in self._waits:
            self._waits.remove(wait)
            self.peer.connection.touch(self._loop.time())
            self._set_reading()
            self._pump()

    def disconnect(self, reason: DisconnectReason) -> None:
        """Say goodbye and close; what came and was not looked at yet is dropped."""
        self.peer.connection.disconnect(reason)
        self._pump()

    def fail(self, error: ProtocolError) -> None:
        """Say why and close, as `disconnect`, for what the peer has done."""
        self.peer.connection.fail(error)
        self._pump()

    def handshake_computed(self, result: StepResult) -> None:
        """Go on with the handshake, if that is still wanted."""
        if self.closed is None:
            self.peer.connection.handshake_computed(result)
            self.resume(Wait.HANDSHAKE)

    def drop(self, error: ProtocolError) -> None:
        """Close at once: the peer does not read what we would say."""
        self._transport.abort()
        self.fail(error)

    async def gone(self) -> None:
        """Wait until the socket is closed."""
        await self._gone.wait()

    @property
    def inbound(self) -> bool:
        """Whether the peer called us."""
        return self.dial is None

    @property
    def unread(self) -> int:
        """Bytes that wait for the peer to read what was written, or to be sealed."""
        return self._transport.get_write_buffer_size() + self.peer.connection.unencrypted

    @property
    def writable(self) -> bool:
        """Whether the peer has read most of what it was sent, and will be sent more."""
        return self._room.is_set() and self.closed is None

    # -- asyncio.BufferedProtocol -------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open: begin the handshake, if there is room for one more."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self.address, self.port = endpoint(transport.get_extra_info("peername"))
        self.host = host_of(self.address)
        self.local = endpoint(transport.get_extra_info("sockname"))
        self.peer = self._node.make_peer(self, self._loop.time())
        self._node.admit_socket(self)
        self._pump()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go: the connection's own buffer, so nothing is copied."""
        return self.peer.connection.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        connection = self.peer.connection
        connection.buffer_updated(nbytes, self._loop.time())
        if connection.buffered > LITTLE and self._node.turns.is_over():
            self._wait_turn()
        self._pump()

    def eof_received(self) -> bool:
        """The peer sends no more."""
        self.peer.connection.eof(self._loop.time())
        self._pump()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed: take what came before, or drop it if there is no room for it."""
        try:
            self.peer.connection.eof(self._loop.time())
            while self.closed is None:
                if Wait.NODE in self._waits:
                    self.peer.connection.abandon()
                self._waits.clear()
                self._pump()
        finally:  # whatever went wrong: who waits for the end would wait for ever
            if self._timer is not None:
                self._timer.cancel()
            self._room.set()
            self._gone.set()
            self._node.forget(self)

    def pause_writing(self) -> None:
        """The peer reads more slowly than we write."""
        self._full = True
        self._room.clear()
        self._read_before = self._read_by_peer()
        self._stalled_until = self._loop.time() + WRITE_TIMEOUT
        self._arm_timer()

    def resume_writing(self) -> None:
        """The peer has read most of it."""
        self._full = False
        self._stalled_until = None
        self._make_room()
        self.resume(Wait.PEER)

    # -- the middle ---------------------------------------------------------------------------

    def _pump(self) -> None:
        """Take events until there are none, or they have to wait."""
        now, unix_time = self._loop.time(), int(time.time())
        connection, turns = self.peer.connection, self._node.turns
        while self.closed is None and (not self._waits or connection.closed):
            event = self.peer.next_event(now, unix_time)
            if event is None:
                break
            self._on_event(event)
            if turns.is_over() and connection.buffered:
                self._wait_turn()
        self.flush()
        self._arm_timer()
        self._node.count_receiving(self, connection.capacity)

    def _write(self, data: list[bytes]) -> None:
        size = sum(map(len, data))
        self._written += size
        self._transport.writelines(data)
        self._check_unread()
        self._node.count_written(size)

    def _check_unread(self) -> None:
        """Stop taking what has to be answered from who does not read the answers."""
        if self.unread > MAX_UNREAD:
            self.drop(StalledPeer(f"more than {MAX_UNREAD} bytes unread"))
        elif self._full and self.unread > ANSWERS_UNREAD:
            self.pause(Wait.PEER)

    def _on_sealed(self, frames: bytes | None) -> None:
        self._sealing = False
        if frames is None:
            self._transport.abort()
            return
        if not self._transport.is_closing():
            self._write([frames])
        self.flush()
        if self.closed is not None:
            self._part()
        else:
            self._make_room()

    def _make_room(self) -> None:
        """Let more be sent, unless the peer or the sealer is behind."""
        if not self._full and not self._sealing:
            self._room.set()
            if self.ready:
                self._node.handler.on_writable(self)

    def _read_by_peer(self) -> int:
        """Bytes that are written and no longer wait in our buffer."""
        return self._written - self._transport.get_write_buffer_size()

    def _wait_turn(self) -> None:
        """Let the others have their turn."""
        if Wait.TURN not in self._waits:
            self.pause(Wait.TURN)
            self._node.turns.wait(self)

    def _set_reading(self) -> None:
        """Read from the socket, or stop to."""
        wanted = not self._waits
        if self._transport.is_closing() or wanted == self._transport.is_reading():
            return
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _on_event(self, event: PeerEvent) -> None:
        match event:
            case HandshakeStep():
                self.pause(Wait.HANDSHAKE)
                self._node.handshaker.add(self, event)
            case Uneventful():
                pass
            case Authenticated(identity):
                self.node_id = identity
                self._node.admit_peer(self)
            case Closed():
                self._on_closed(event)
            case _:
                if isinstance(event, (Ready, SettingsChanged)):
                    self.pace = Pace(self.peer.settings, self._loop.time())
                if isinstance(event, Ready):
                    self._on_ready()
                try:
                    self._node.handler.on_event(self, event)
                except ProtocolError as error:
                    self.peer.connection.fail(error)

    def _on_ready(self) -> None:
        self.ready = True
        self._node.counters.add("peers_connected")
        if self.dial is not None and not self.dial.ready.done():
            self.dial.ready.set_result(None)

    def _on_closed(self, event: Closed) -> None:
        self.closed = event
        self._waits.clear()
        self._node.ended(self, event)
        self.flush()
        if self.dial is not None and not self.dial.ready.done():
            self.dial.ready.set_exception(PeerGone(describe(event)))
        self._room.set()
        if not self._transport.is_closing():
            self._loop.call_later(CLOSE_TIMEOUT, self._transport.abort)
            self._part()

    def _part(self) -> None:
        """Close the socket behind the last frame, our Disconnect packet."""
        if not self._sealing:
            self._transport.close()

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
            read = self._read_by_peer()
            if read < self._read_before + MIN_PROGRESS:
                self.drop(StalledPeer(f"less than {MIN_PROGRESS} bytes read in {WRITE_TIMEOUT} s"))
                return
            self._read_before, self._stalled_until = read, now + WRITE_TIMEOUT
        if self._waits:
            # It is we who do not read: the peer is not silent, and must not take us for it.
            self.peer.connection.touch(now)
        self.peer.handle_timer(now)
        self._pump()


def endpoint(name: tuple[object, ...] | None) -> tuple[str, int]:
    """Address and port of a socket's name; an IPv4 address stays one on an IPv6 socket.

    A socket whose peer has gone again already has none: then it is no address of anybody.
    """
    host, port = (name or ("0.0.0.0", 0))[:2]
    return str(host).removeprefix("::ffff:"), int(str(port))


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
