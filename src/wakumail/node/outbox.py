"""The outbox of a link: bytes on their way to its peer, and those that the peer leaves unread."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from wakumail.errors import DisconnectReason, PeerGone, PeerLimited, ProtocolError
from wakumail.waku.rate_limits import Turn

if TYPE_CHECKING:
    from wakumail.node.link import Link
    from wakumail.node.node import Node

WRITE_TIMEOUT = 20.0
"""Seconds within which a peer has to read MIN_PROGRESS of a full write buffer (Go gives 20 s)."""

MIN_PROGRESS = 64 << 10
"""Bytes that a phone on a bad line can read in WRITE_TIMEOUT."""

WRITE_HIGH_WATER = 256 << 10
"""Bytes unread by a peer above which `drain` waits."""

MAX_UNREAD = 24 << 20
"""Bytes unread by a peer above which it is dropped: confirmations cannot pile up without bound. The
largest packet of all, 16 MiB, leaves room for 8 MiB of them. The unread bytes of all peers have a
bound of their own (see memory.py)."""

MAX_ENCRYPTED_ON_LOOP = 64 << 10
"""Bytes of frames that the loop encrypts itself, in some 0.15 ms. The way through a thread costs a
third of that."""

UNREAD_TOO_MUCH = 2 << 20
"""Bytes unread by a peer above which nothing more is read from it, until it has read most of them.
They must be confirmations, for history and the relay stop before."""

MAX_IN_LINE = 100
"""Packets for callers of the RPC API that may wait for the rate limits of one peer."""

MAX_WAIT = 10.0
"""Seconds that such a packet waits; then its caller gets an error."""

CLOSE_TIMEOUT = 2.0
"""Seconds for our Disconnect packet to leave; then the socket is closed all the same (RLPx)."""


class StalledPeer(ProtocolError):
    """The peer does not read the packets that it is sent."""

    counter = "connections_stalled"
    reason = DisconnectReason.TCP_ERROR


class Outbox:
    """Writes the packets that the connection of a peer has to send, as fast as the peer reads.

    Long frames are encrypted in the node's encryption thread. Packets that are sent meanwhile go
    behind them.
    """

    def __init__(self, link: "Link", node: "Node", transport: asyncio.Transport) -> None:
        self._link = link
        self._node = node
        self._transport = transport
        self._connection = link.peer.connection
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._room.set()
        self._why_closed: str | None = None
        self._flush_planned = False
        self._encrypting = False
        self._full = False
        self._written = 0
        self._read_before = 0
        self._stall_timer: asyncio.TimerHandle | None = None
        self._line = asyncio.Lock()
        self._in_line = 0
        """Callers that wait for the rate limits of the peer."""
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)

    # -- for senders ------------------------------------------------------------------------------

    def flush_soon(self) -> None:
        """Flush in the loop's next round: all packets until then leave in one write."""
        if not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write the packets to send. If they are long, have them encrypted first."""
        self._flush_planned = False
        if self._transport.is_closing():
            return
        if self._encrypting:  # later packets go behind
            self._check_unread()
            return
        connection = self._connection
        if connection.unencrypted > MAX_ENCRYPTED_ON_LOOP:
            assert connection.writer is not None
            self._encrypting = True
            self._room.clear()
            self._node.encryption_thread.encrypt(connection.writer, self._on_encrypted)
        elif data := connection.data_to_send():
            self._write(data)

    async def drain(self) -> None:
        """Flush, and wait until the peer has read most of it. PeerGone if the connection ends."""
        self.flush()
        if self._why_closed is None:
            await self._room.wait()
        if self._why_closed is not None:
            raise PeerGone(self._why_closed)

    async def drain_and_pace(self) -> None:
        """Drain, and wait for a turn to send one more packet. PeerGone."""
        await self.drain()
        await self.pace()

    async def pace(self, size: int = 0) -> None:
        """Wait for a turn to send one more packet within the peer's rate limits. PeerGone.

        `size` is the bytes of the packet, if they are known. It has to be sent in the step of the
        loop that comes back from here.
        """
        if self._why_closed is not None:
            raise PeerGone(self._why_closed)
        peer = self._link.peer
        woken = asyncio.Event()
        turn = Turn(woken.set)
        try:
            while delay := peer.limits.ask(turn, self._loop.time(), size):
                self.flush()
                with suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), delay)
                woken.clear()
                await self.drain()
        finally:
            peer.limits.leave(turn)

    async def wait_in_line(self, size: int) -> None:
        """Wait until the peer's rate limits allow a packet of `size` bytes for a caller.

        Callers come one after another, in the order of their calls. PeerLimited if MAX_IN_LINE of
        them wait already, or after MAX_WAIT; PeerGone.
        """
        limits = self._link.peer.limits
        if not limits.is_limited:
            return
        if self._in_line >= MAX_IN_LINE:
            raise PeerLimited(f"{MAX_IN_LINE} packets wait for the rate limits of the peer already")
        self._in_line += 1
        try:
            async with asyncio.timeout(MAX_WAIT), self._line:
                await self.pace(size)
        except TimeoutError:
            text = f"the rate limits of the peer left no room for the packet for {MAX_WAIT:g} s"
            raise PeerLimited(text) from None
        finally:
            self._in_line -= 1

    @property
    def unread(self) -> int:
        """Bytes that the peer has not read yet: in the transport's buffer, or not yet encrypted."""
        return self._transport.get_write_buffer_size() + self._connection.unencrypted

    @property
    def writable(self) -> bool:
        """True if the peer has read most of the written bytes, and the connection is open."""
        return self._room.is_set() and self._why_closed is None

    # -- for the link -----------------------------------------------------------------------------

    def fill(self) -> None:
        """The transport's buffer is full."""
        self._full = True
        self._room.clear()
        self._await_progress()

    def empty(self) -> None:
        """The peer has read most of the transport's buffer."""
        self._full = False
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        self._make_room()

    def close(self, why: str) -> None:
        """Send the packets that are left, our Disconnect last, and close the socket."""
        self.flush()
        self._why_closed = why
        self._room.set()
        self._link.peer.limits.wake_all()
        if not self._transport.is_closing():
            self._loop.call_later(CLOSE_TIMEOUT, self._transport.abort)
            self._close_socket()

    def lost(self) -> None:
        """The socket is closed. Wake all who wait, and let go of the link.

        A server looks for cyclic garbage so seldom that an ended link must be part of none.
        """
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        self._room.set()
        self._link.peer.limits.wake_all()
        del self._link

    # -- writing ----------------------------------------------------------------------------------

    def _write(self, data: list[bytes]) -> None:
        size = sum(map(len, data))
        self._written += size
        self._transport.writelines(data)
        self._check_unread()
        self._node.memory.count_written(size)

    def _check_unread(self) -> None:
        """Take no more packets from a peer that does not read the answers."""
        unread = self.unread
        if unread > MAX_UNREAD:
            self._link.drop(StalledPeer(f"more than {MAX_UNREAD} bytes unread"))
        elif self._full and unread > UNREAD_TOO_MUCH:
            self._link.pause_for_peer()

    def _on_encrypted(self, frames: bytes | None) -> None:
        self._encrypting = False
        if frames is None:
            self._transport.abort()
            return
        if not self._transport.is_closing():
            self._write([frames])
        self.flush()
        if self._why_closed is not None:
            self._close_socket()
        else:
            self._make_room()

    def _make_room(self) -> None:
        """Let more be sent, unless the peer or the encryption is behind."""
        if not self._full and not self._encrypting:
            self._room.set()
            if self._link.ready:
                self._node.handler.on_writable(self._link)

    def _close_socket(self) -> None:
        """Close the socket behind the last frame."""
        if not self._encrypting:
            self._transport.close()

    def _await_progress(self) -> None:
        """Give the peer WRITE_TIMEOUT to read MIN_PROGRESS."""
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        self._read_before = self._read_by_peer()
        self._stall_timer = self._loop.call_later(WRITE_TIMEOUT, self._check_progress)

    def _check_progress(self) -> None:
        if self._read_by_peer() < self._read_before + MIN_PROGRESS:
            error = StalledPeer(f"less than {MIN_PROGRESS} bytes read in {WRITE_TIMEOUT} s")
            self._link.drop(error)
        else:
            self._await_progress()

    def _read_by_peer(self) -> int:
        """Bytes that were written and have left the transport's buffer."""
        return self._written - self._transport.get_write_buffer_size()
