"""A blocking connection to a mailserver that takes little CPU of its client."""

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence

import cramjam
from cramjam import snappy

from wakumail.base import rlp
from wakumail.devp2p import keys
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.frame_reader import FrameReader
from wakumail.devp2p.frame_writer import FrameWriter
from wakumail.devp2p.handshake import PREFIX_SIZE, Initiator, packet_size
from wakumail.devp2p.packets import (
    P2P_VERSION,
    SNAPPY_VERSION,
    WAKU,
    Capability,
    Hello,
    MessageId,
    Shared,
    decode_disconnect,
    negotiate,
)
from wakumail.load.clients.role import LoadFailed
from wakumail.load.clients.skimmer import Frame, Skimmer
from wakumail.waku.bloom import BLOOM_SIZE
from wakumail.waku.packets import Code, StatusOptions
from wakumail.waku.peer import DIALECTS, Dialect

LOAD_TIMEOUT = 120.0
"""Seconds after which a load has failed, whatever it waits for."""

BENCH_CLIENT_ID = "wakumail-bench"

WANTS_NOTHING = StatusOptions(pow=0.0, bloom=bytes(BLOOM_SIZE), light=False, confirmations=False)
"""The status of a client that wants no envelopes."""

WANTS_EVERYTHING = StatusOptions(pow=0.0, light=False, confirmations=False)
"""The status of a client that wants every envelope."""


PING = rlp.encode(MessageId.PING)
DISCONNECT = rlp.encode(MessageId.DISCONNECT)

PING_CHECK_INTERVAL = 1.0
"""Seconds between checks for pings while a client waits or prepares. Servers wait 15 s or more."""


class BlockingConnection:
    """A connection. `dial` opens it; `greet` takes it past the status.

    Frames are read either with `reader`, or with `skimmer` for their sizes: never with both.
    """

    def __init__(
        self,
        enode: Enode,
        node_key: keys.PrivateKey | None = None,
        capabilities: Sequence[Capability] = WAKU,
    ) -> None:
        self._node_key = node_key or keys.generate(os.urandom)
        self._capabilities = tuple(capabilities)
        self._initiator = Initiator(self._node_key, keys.public_key(enode.node_id), os.urandom)
        self._address = enode.host, enode.port
        self.reader: FrameReader
        self.writer: FrameWriter
        self.skimmer: Skimmer
        self.socket: socket.socket
        self.server_status: StatusOptions
        """The mailserver's status."""
        self.offsets: dict[Capability, int] = {}
        """The first message id of each shared capability."""
        self._shared: Shared
        self.dialect: Dialect

    def dial(self, source: str = "") -> None:
        """Connect, from the address `source` if there is one, and send the auth packet."""
        own = (source, 0) if source else None
        self.socket = socket.create_connection(self._address, LOAD_TIMEOUT, own)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(self._initiator.auth)

    def greet(self, status: StatusOptions | bytes) -> None:
        """Finish the handshake, and exchange hello and status, which may be given as its bytes."""
        ack = self._receive(PREFIX_SIZE)
        ack += self._receive((packet_size(ack) or 0) - PREFIX_SIZE)
        secrets = self._initiator.finish(ack)
        aes, mac, egress_seed, ingress_seed = secrets
        self.reader, self.skimmer = FrameReader(aes, mac, ingress_seed), Skimmer(aes)
        self.writer = FrameWriter(aes, mac, egress_seed)
        own_id = keys.node_id(self._node_key.public_key)
        own = Hello(P2P_VERSION, BENCH_CLIENT_ID, self._capabilities, 0, own_id).encode()
        self.writer.add(own, rlp.encode(MessageId.HELLO))
        self.socket.sendall(self.writer.encrypt())
        hello = Hello.decode(self._expect(MessageId.HELLO, compressed=False))
        if hello.version < SNAPPY_VERSION:
            raise LoadFailed("the server speaks devp2p without compression")
        for shared in negotiate(self._capabilities, hello.capabilities):
            capability = Capability(shared.name, shared.version)
            self.offsets[capability] = shared.offset
            if capability in DIALECTS:
                self._shared, self.dialect = shared, DIALECTS[capability]
        told = status if isinstance(status, bytes) else self.dialect.encode_status(status)
        self.send(Code.STATUS, told)
        self.server_status = self.dialect.decode_status(
            self._expect(self._shared.offset + Code.STATUS)
        )

    def message_id(self, code: int) -> bytes:
        """The first bytes of each packet of the capability with this code."""
        return rlp.encode(self._shared.offset + code)

    def encode(self, code: int, payload: bytes) -> bytes:
        """A packet of the capability as a frame. Frames have to be sent in the order of making."""
        return self._frame(self.message_id(code), payload)

    def encode_any(self, message_id: int, payload: bytes) -> bytes:
        """A packet with any message id as a frame."""
        return self._frame(rlp.encode(message_id), payload)

    def send(self, code: int, payload: bytes) -> None:
        """Send a packet of the capability."""
        self.socket.sendall(self.encode(code, payload))

    def send_p2p(self, code: MessageId) -> None:
        """Send a ping or pong."""
        self.socket.sendall(self.encode_p2p(code))

    def encode_p2p(self, code: MessageId) -> bytes:
        """A ping or pong as a frame."""
        return self._frame(rlp.encode(code), rlp.encode([]))

    def _frame(self, message_id: bytes, payload: bytes) -> bytes:
        self.writer.add(bytes(snappy.compress_raw(payload)), message_id)
        return self.writer.encrypt()

    def skim(self) -> Frame:
        """Wait for the next frame, and skim it."""
        while True:
            frame = self.skimmer.received(self.socket.recv_into(self.skimmer.get_buffer()))
            if frame is not None:
                return frame

    def skim_waiting(self) -> Iterator[Frame]:
        """Skim the frames that have come, without waiting."""
        while count := self._receive_waiting(self.skimmer.get_buffer()):
            if (frame := self.skimmer.received(count)) is not None:
                yield frame

    def answer(self, data: bytes) -> None:
        """Answer a packet if it is a ping. LoadFailed if it is a disconnect. Others are ignored."""
        if data.startswith(PING):
            self.send_p2p(MessageId.PONG)
        elif data.startswith(DISCONNECT):
            raise LoadFailed("the server disconnected")

    def frames(self) -> Iterator[memoryview]:
        """Receive once, 64 KiB at most, and decrypt the frames. Each is valid until the next."""
        count = self.socket.recv_into(self.reader.get_buffer(1 << 16))
        if not count:
            raise ConnectionError("the server hung up")
        return self._read(count)

    def waiting_frames(self) -> Iterator[memoryview]:
        """The same without waiting."""
        return self._read(self._receive_waiting(self.reader.get_buffer(1 << 16)))

    def _read(self, count: int) -> Iterator[memoryview]:
        self.reader.received(count)
        while (frame := self.reader.next_frame()) is not None:
            yield frame

    def _receive_waiting(self, buffer: memoryview) -> int:
        """Receive without waiting. Returns the number of bytes; 0 if none had come."""
        try:
            # `recv_into` of a socket with a timeout would wait.
            count = os.readv(self.socket.fileno(), [buffer])
        except BlockingIOError:
            return 0
        if not count:
            raise ConnectionError("the server hung up")
        return count

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def _receive(self, size: int) -> bytes:
        data = self.socket.recv(size, socket.MSG_WAITALL)
        if len(data) < size:
            raise ConnectionError("the server hung up in the handshake")
        return data

    def _expect(self, message_id: int, *, compressed: bool = True) -> bytes:
        """The payload of the next packet with this id. Others are skipped."""
        while True:
            # Reader and skimmer both see all frames up to the status: either can go on from there.
            self.reader.feed(self.skim().raw)
            frame = bytes(self.reader.next_frame() or b"")
            item, size = rlp.decode_prefix(frame[:5])
            found = rlp.as_int(item)
            if found == MessageId.DISCONNECT:
                raise LoadFailed(f"the server disconnected: {disconnect_reason(frame[size:])}")
            if found == message_id:
                return bytes(snappy.decompress_raw(frame[size:])) if compressed else frame[size:]


class PingSchedule:
    """Calls `answer_pings` every PING_CHECK_INTERVAL during long work."""

    def __init__(self, answer_pings: Callable[[], None]) -> None:
        self._answer_pings = answer_pings
        self._next = time.monotonic() + PING_CHECK_INTERVAL

    def check(self) -> None:
        """Call it if it is due."""
        if time.monotonic() >= self._next:
            self._answer_pings()
            self._next = time.monotonic() + PING_CHECK_INTERVAL


def open_connection(enode: Enode, status: StatusOptions) -> BlockingConnection:
    """Open a connection, past its status."""
    connection = BlockingConnection(enode)
    connection.dial()
    connection.greet(status)
    return connection


def disconnect_reason(data: bytes) -> str:
    """The reason in a disconnect packet, which some servers do not compress."""
    try:
        reason = decode_disconnect(bytes(snappy.decompress_raw(data)))
    except cramjam.DecompressionError:
        reason = decode_disconnect(data)
    return getattr(reason, "name", str(reason)).lower().replace("_", " ")
