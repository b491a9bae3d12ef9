"""A client that costs as little as it can: it asks, and reads what comes past its size.

The machine's two cores belong to the server as far as possible, so a P2P Messages packet is
neither decrypted nor authenticated beyond the bytes that tell what it is and how long.
"""

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from cramjam import snappy
from Crypto.Cipher import AES

from wakumail import keys, mail, rlp
from wakumail.bloom import BLOOM_SIZE
from wakumail.devp2p import P2P_MESSAGE_IDS, P2P_VERSION, Capability, Hello
from wakumail.devp2p import Code as P2PCode
from wakumail.enode import Enode
from wakumail.frame import FrameCodec
from wakumail.handshake import PREFIX_SIZE, Initiator, packet_size
from wakumail.message import DEFAULT_PASSWORD, symmetric_key
from wakumail.waku import Code, StatusOptions, WakuDialect

from .requests import LIMIT, Ask
from .server import ServerProcess
from .traffic import ENVELOPE_SIZE

BLOCK = 16
BUFFER = 2 << 20
TIMEOUT = 120.0
"""Seconds that a server may take for anything."""


@dataclass(frozen=True, slots=True)
class Served:
    """What one client measured, and what came in answer to all of its requests."""

    seconds: list[float]
    """Of each request."""
    envelopes: int
    bytes: int
    began: float
    """When the first was sent (monotonic)."""
    ended: float
    cpu_before: float
    """Seconds of the server's CPU."""
    cpu_after: float


class Client:
    """A connection to a mailserver, past its status."""

    def __init__(self, enode: Enode) -> None:
        self.envelopes = 0
        self.bytes = 0
        self._socket = socket.create_connection((enode.host, enode.port), TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = memoryview(bytearray(BUFFER))
        self._key = symmetric_key(DEFAULT_PASSWORD)
        self._node_key = keys.generate(os.urandom)
        self._blocks = 0
        self._packets: dict[tuple[Ask, bytes], bytes] = {}
        self._shake_hands(enode)

    def ask(self, ask: Ask) -> float:
        """Send the request and read the answer, page after page where it follows.

        Answers the seconds from sending to completion; making the requests is not among them.
        """
        cursor = b""
        waited = 0.0
        while True:
            packet = self._request(ask, cursor)
            began = time.perf_counter()
            self._send(Code.P2P_REQUEST, packet)
            cursor = self._await_completion().cursor
            waited += time.perf_counter() - began
            if not (cursor and ask.follows):
                return waited

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _request(self, ask: Ask, cursor: bytes) -> bytes:
        """The packet of a request; made once, for making it costs more than answering it."""
        if (ask, cursor) not in self._packets:
            self._packets[ask, cursor], _ = mail.build_request(
                mail.Form.R3,
                lower=ask.lower,
                upper=ask.upper,
                topics=ask.topics,
                bloom=ask.bloom,
                limit=LIMIT,
                cursor=cursor,
                key=self._key,
                sign_with=self._node_key,
                random=os.urandom,
                now=int(time.time()),
            )
        return self._packets[ask, cursor]

    def _shake_hands(self, enode: Enode) -> None:
        remote = keys.public_key(enode.node_id)
        initiator = Initiator(self._node_key, remote, os.urandom)
        self._socket.sendall(initiator.auth)
        ack = bytes(self._receive(PREFIX_SIZE))
        ack += self._receive((packet_size(ack) or 0) - PREFIX_SIZE)
        secrets = initiator.finish(ack)
        self._codec = FrameCodec(*secrets)
        self._cipher = AES.new(secrets.aes, AES.MODE_ECB)
        own_id = keys.node_id(self._node_key.public_key)
        hello = Hello(P2P_VERSION, "bench", (Capability("waku", 1),), 0, own_id)
        self._socket.sendall(self._codec.encode(hello.encode(), rlp.encode(P2PCode.HELLO)))
        options = StatusOptions(pow=0.0, bloom=bytes(BLOOM_SIZE), light=True, confirmations=False)
        self._send(Code.STATUS, WakuDialect(1).encode_status(options))

    def _send(self, code: Code, payload: bytes) -> None:
        message_id = rlp.encode(P2P_MESSAGE_IDS + code)
        self._socket.sendall(self._codec.encode(snappy.compress_raw(payload), message_id))

    def _await_completion(self) -> mail.Completion:
        """Count what comes before the completion."""
        delivery = rlp.encode(P2P_MESSAGE_IDS + Code.P2P_MESSAGE)
        completion = rlp.encode(P2P_MESSAGE_IDS + Code.P2P_REQUEST_COMPLETE)
        while True:
            frame, first = self._read_frame()
            if first.startswith(delivery):
                size = snappy.decompress_raw_len(first[len(delivery) :])
                self.envelopes += size // ENVELOPE_SIZE
                self.bytes += size
            elif first.startswith(completion):
                whole = self._decrypt(frame, self._blocks - -(-len(frame) // BLOCK))
                packet = snappy.decompress_raw(whole[len(completion) :])
                answer = mail.Completion.decode(bytes(packet))
                if answer.error is not None:
                    raise RuntimeError(f"the server refused: {answer.error}")
                return answer

    def _read_frame(self) -> tuple[memoryview, bytes]:
        """One frame, encrypted and valid until the next, and its first bytes in plain."""
        header = self._decrypt(self._receive(2 * BLOCK)[:BLOCK], self._blocks)
        size = int.from_bytes(header[:3], "big")
        blocks = -(-size // BLOCK)
        frame = self._receive((blocks + 1) * BLOCK)[:size]
        first = self._decrypt(frame[:BLOCK], self._blocks + 1)
        self._blocks += 1 + blocks
        return frame, first

    def _decrypt(self, data: memoryview, block: int) -> bytes:
        """AES in counter mode, from any block of the stream on: a few blocks at most."""
        numbers = range(block, block + -(-len(data) // BLOCK))
        stream = self._cipher.encrypt(b"".join(n.to_bytes(BLOCK, "big") for n in numbers))
        return bytes(a ^ b for a, b in zip(data, stream, strict=False))

    def _receive(self, size: int) -> memoryview:
        """Exactly `size` bytes."""
        if size > len(self._buffer):
            self._buffer = memoryview(bytearray(size))
        filled = 0
        while filled < size:
            count = self._socket.recv_into(self._buffer[filled:size])
            if not count:
                raise ConnectionError("the server hung up")
            filled += count
        return self._buffer[:size]


def send_asks(
    server: ServerProcess, asks: Sequence[Ask], *, start: float, seconds: float, count: int
) -> Served:
    """Send requests in turn, from the time `start` (monotonic) on, bounded in count and time."""
    client = Client(server.enode)
    try:
        for ask in asks:
            client.ask(ask)
        client.envelopes = client.bytes = 0
        time.sleep(max(0.0, start - time.monotonic()))
        began, cpu_before = time.monotonic(), server.cpu()
        taken: list[float] = []
        while len(taken) < count and time.monotonic() < began + seconds:
            taken.append(client.ask(asks[len(taken) % len(asks)]))
        ended = time.monotonic()
        return Served(taken, client.envelopes, client.bytes, began, ended, cpu_before, server.cpu())
    finally:
        client.close()
