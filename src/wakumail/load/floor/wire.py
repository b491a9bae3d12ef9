"""A TCP connection on loopback with both ends here. Only the near end's CPU is counted."""

import contextlib
import socket
import time
from types import TracebackType
from typing import Self

from cramjam import snappy

from wakumail.base import rlp
from wakumail.base.snappy import store_prefix
from wakumail.devp2p.frame_reader import FrameReader
from wakumail.devp2p.frame_writer import FrameWriter
from wakumail.devp2p.packets import P2P_MESSAGE_IDS

AES_KEY, MAC_KEY, SEED = bytes(range(32)), bytes(range(32, 64)), bytes(range(32))
READ_SIZE = 256 << 10
"""Bytes that the far end reads at once."""


def message_id(code: int) -> bytes:
    """The first bytes of each packet with this code, where `waku` is the only capability."""
    return rlp.encode(P2P_MESSAGE_IDS + code)


class Wire:
    """The near end does a server's work, the far end a client's.

    What the near end does counts between `begin` and `end`.
    """

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._far = socket.create_connection(listener.getsockname())
            self._near, _ = listener.accept()
        for end in (self._far, self._near):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = FrameReader(AES_KEY, MAC_KEY, SEED)
        self.unread = 0
        """Bytes that the far end has sent and the near end has not read yet."""
        self.cpu = 0.0
        """Seconds of the near end's CPU."""
        self._writer = FrameWriter(AES_KEY, MAC_KEY, SEED)
        self._far_writer = FrameWriter(AES_KEY, MAC_KEY, SEED)
        self._began = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._near.close()
        self._far.close()

    def begin(self) -> None:
        """Begin to count."""
        self._began = time.thread_time()

    def end(self) -> None:
        """Count no more."""
        self.cpu += time.thread_time() - self._began

    # -- the far end ----------------------------------------------------------------------------

    def frame(self, code: int, payload: bytes) -> bytes:
        """A packet as a frame of the far end."""
        self._far_writer.add(bytes(snappy.compress_raw(payload)), message_id(code))
        return self._far_writer.encrypt()

    def write(self, frames: memoryview) -> memoryview:
        """Send as much as the system takes; returns the rest."""
        try:
            sent = self._far.send(frames)
        except BlockingIOError:
            return frames
        self.unread += sent
        return frames[sent:]

    def drain(self) -> bytes:
        """Read all that the near end has sent."""
        read = bytearray()
        with contextlib.suppress(BlockingIOError):
            while piece := self._far.recv(READ_SIZE):
                read += piece
        return bytes(read)

    # -- the near end ---------------------------------------------------------------------------

    def receive(self) -> None:
        """Read what has come, in one call of the system."""
        with contextlib.suppress(BlockingIOError):
            count = self._near.recv_into(self.reader.get_buffer(READ_SIZE))
            self.reader.received(count)
            self.unread -= count

    def add(self, code: int, payload: bytes) -> None:
        """Add a packet to those that `send` encrypts."""
        self._writer.add(payload, message_id(code) + store_prefix(len(payload)))

    def add_each(self, code: int, envelopes: bytes) -> None:
        """The same with a packet for each envelope of a page."""
        self._writer.add_each(envelopes, message_id(code), stored=True)

    def send(self) -> None:
        """Encrypt what was added and send it. What the far end reads meanwhile does not count."""
        frames = memoryview(self._writer.encrypt())
        while frames:
            try:
                frames = frames[self._near.send(frames) :]
            except BlockingIOError:
                self.end()
                self.drain()
                self.begin()
