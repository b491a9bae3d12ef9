"""A link: one transport and the Waku peer behind it.

Bytes come in through the buffer of the connection's frame reader. Events go to the parts of the
node (node.py) and to its handler. The outbox (outbox.py) writes the
packets of the connection.
"""

import asyncio
import time
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

from wakumail.base.transports import set_reading
from wakumail.devp2p.connection_events import Authenticated, Closed, Uneventful
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.handshake import HandshakeStep, StepResult
from wakumail.errors import DisconnectReason, PeerGone, ProtocolError, UselessPeer
from wakumail.node.outbox import Outbox
from wakumail.waku.peer import Peer
from wakumail.waku.peer_events import PeerEvent, Ready
from wakumail.waku.rate_limits import host_of

if TYPE_CHECKING:
    from wakumail.node.node import Node

SMALL_READ = 8 << 10
"""Bytes of packets that a link takes at once, though the busy links have had their time of the
round: enough for a request. A link with more waits for its turn (base/turns.py)."""


class Wait(Enum):
    """Reasons to read nothing more from a peer. The packets that it has sent already wait."""

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
        """Of the peer's end of the socket."""
        self.host = ""
        """The address, or the network of an IPv6 address (see rate_limits.host_of)."""
        self.local = ("", 0)
        """Address and port of our end."""
        self.ready = False
        self.peer: Peer
        self.closed: Closed | None = None
        self.outbox: Outbox
        self._node = node
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._gone = asyncio.Event()
        self._waits: set[Wait] = set()
        """While there are any, no event is taken but the end of the connection."""
        self._timer: asyncio.Handle | None = None
        self._due = 0.0

    # -- for the node and its handler -------------------------------------------------------------

    def probe(self) -> None:
        """Ping the peer, and give it up soon if nothing comes (see Connection.probe)."""
        self.peer.connection.probe(self._loop.time())
        self._pump()

    def update_status(self) -> None:
        """Tell the peer of changes of our status. The connection may end over them."""
        self.peer.update_status(self._loop.time())
        self._pump()

    def pause(self, wait: Wait) -> None:
        """Stop reading from the peer. The bytes that it sent already stay in their buffer."""
        self._waits.add(wait)
        set_reading(self._transport, not self._waits)

    def pause_for_peer(self) -> None:
        """Stop reading from a peer that leaves too much unread."""
        self.pause(Wait.PEER)

    def resume(self, wait: Wait) -> None:
        """End one wait. If there is no other, read again, beginning with the buffered bytes."""
        if wait in self._waits:
            self._waits.remove(wait)
            self.peer.connection.touch(self._loop.time())
            set_reading(self._transport, not self._waits)
            self._pump()

    def disconnect(self, reason: DisconnectReason) -> None:
        """Say goodbye and close. Packets that came and were not taken yet are dropped."""
        self.peer.connection.disconnect(reason)
        self._pump()

    def fail(self, error: ProtocolError) -> None:
        """Tell the peer of its error and close, as `disconnect` does."""
        self.peer.connection.fail(error)
        self._pump()

    def handshake_computed(self, result: StepResult) -> None:
        """Go on with the handshake, unless the connection has ended meanwhile."""
        if self.closed is None:
            self.peer.connection.handshake_computed(result)
            self.resume(Wait.HANDSHAKE)

    def drop(self, error: ProtocolError) -> None:
        """Close at once, without a word: the peer would not read it."""
        self._transport.abort()
        self.fail(error)

    async def gone(self) -> None:
        """Wait until the socket is closed."""
        await self._gone.wait()

    @property
    def inbound(self) -> bool:
        """True if the peer called us."""
        return self.dial is None

    # -- asyncio.BufferedProtocol -------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open. Begin the handshake, if there is room for one more."""
        self._transport = cast(asyncio.Transport, transport)
        self.address, self.port = endpoint(transport.get_extra_info("peername"))
        self.host = host_of(self.address)
        self.local = endpoint(transport.get_extra_info("sockname"))
        self.peer = self._node.make_peer(self, self._loop.time())
        self.outbox = Outbox(self, self._node, self._transport)
        self._node.admit_socket(self)
        self._pump()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Room for received bytes in the connection's own buffer: nothing is copied."""
        return self.peer.connection.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        """`nbytes` bytes were received into the buffer."""
        connection = self.peer.connection
        connection.buffer_updated(nbytes, self._loop.time())
        if connection.buffered > SMALL_READ and self._node.turns.is_over():
            self._wait_turn()
        self._pump()

    def eof_received(self) -> bool:
        """The peer sends no more. Its last packets and its end wait for its turn, as packets do.

        True keeps the socket open until then.
        """
        self.peer.connection.eof(self._loop.time())
        if not self._waits and self._node.turns.is_over():
            self._wait_turn()
        else:
            self._pump()
        return self._waits == {Wait.TURN}

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed. Take the packets that came before, if the node takes any."""
        try:
            self.peer.connection.eof(self._loop.time())
            while self.closed is None:
                if Wait.NODE in self._waits:
                    self.peer.connection.abandon()
                self._waits.clear()
                self._pump()
        finally:  # even after an error: others wait for the end of this link
            if self._timer is not None:
                self._timer.cancel()
            self.outbox.lost()
            self._gone.set()
            self._node.forget(self)

    def pause_writing(self) -> None:
        """The transport's buffer is full: the peer reads more slowly than we write."""
        self.outbox.fill()

    def resume_writing(self) -> None:
        """The peer has read most of the transport's buffer."""
        self.outbox.empty()
        self.resume(Wait.PEER)

    # -- events -------------------------------------------------------------------------------

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
        self.outbox.flush()
        self._arm_timer()
        self._node.memory.count_buffer(self, connection.capacity)

    def _wait_turn(self) -> None:
        """Let other busy links have their turn."""
        if Wait.TURN not in self._waits:
            self.pause(Wait.TURN)
            self._node.turns.wait(partial(self.resume, Wait.TURN))

    def _on_event(self, event: PeerEvent) -> None:
        match event:
            case HandshakeStep():
                self.pause(Wait.HANDSHAKE)
                self._node.handshake_thread.add(self, event)
            case Uneventful():
                pass
            case Authenticated(identity):
                self.node_id = identity
                self._node.admission.admit_peer(self)
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
        self._node.counters.add("peers_connected")
        if self.dial is not None and not self.dial.ready.done():
            self.dial.ready.set_result(None)

    def _on_closed(self, event: Closed) -> None:
        self.closed = event
        self._waits.clear()
        self._node.ended(self, event)
        why = describe(event)
        if self.dial is not None and not self.dial.ready.done():
            self.dial.ready.set_exception(PeerGone(why, useless=is_useless(event)))
        self.outbox.close(why)

    def _arm_timer(self) -> None:
        if self.closed is not None:
            return
        due = self.peer.next_timer()
        if due is not None and (self._timer is None or due < self._due):
            if self._timer is not None:
                self._timer.cancel()
            self._due = due
            self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._loop.time()
        if self._waits:
            # We do not read from this peer, so its silence proves nothing.
            self.peer.connection.touch(now)
        self.peer.handle_timer(now)
        self._pump()


def endpoint(name: tuple[object, ...] | None) -> tuple[str, int]:
    """Address and port of a socket's name. An IPv4 address stays one on an IPv6 socket.

    If the peer has gone already, the socket has no name, and the answer is 0.0.0.0, port 0.
    """
    host, port = (name or ("0.0.0.0", 0))[:2]
    return str(host).removeprefix("::ffff:"), int(str(port))


def is_useless(closed: Closed) -> bool:
    """True if one of both sides has found no capability in common."""
    return isinstance(closed.error, UselessPeer) or closed.reason == DisconnectReason.USELESS_PEER


def describe(closed: Closed) -> str:
    """The reason for the end of a connection, in words."""
    if closed.error is not None:
        return str(closed.error) or closed.error.counter
    if closed.reason is None:
        return "the connection was lost"
    try:
        text = DisconnectReason(closed.reason).name.lower().replace("_", " ")
    except ValueError:
        text = f"reason {closed.reason}"
    return f"disconnected by {'the peer' if closed.by_peer else 'us'}: {text}"
