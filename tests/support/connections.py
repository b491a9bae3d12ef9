"""Two ends of a connection in memory, and a peer that can send anything."""

import os
from dataclasses import replace
from random import Random

import pytest
from cramjam import snappy

from tests.support.codec import FrameCodec
from wakumail.base import rlp
from wakumail.devp2p.connection import Connection, ConnectionConfig
from wakumail.devp2p.connection_events import (
    Authenticated,
    Closed,
    ConnectionEvent,
    Packet,
    Uneventful,
)
from wakumail.devp2p.handshake import HandshakeStep, Initiator
from wakumail.devp2p.keys import PublicKey, node_id, private_key
from wakumail.devp2p.packets import WAKU, Capability, Hello, Shared, decode_disconnect
from wakumail.errors import ProtocolError
from wakumail.node.link import Link

ALICE = private_key(b"\x01" * 32)
BOB = private_key(b"\x02" * 32)
ALICE_ID, BOB_ID = node_id(ALICE.public_key), node_id(BOB.public_key)
SHARED = Shared("waku", 1, 0x10, 128)
NOW = 1000.0
MAX_PACKET = 1 << 20

BOB_CONFIG = ConnectionConfig(BOB, "wakumail/bob", 30303, WAKU, max_packet=MAX_PACKET)
ALICE_CONFIG = replace(BOB_CONFIG, node_key=ALICE, client_id="wakumail/alice", port=0)


class Side:
    """A connection, its events, and an owner that accepts every peer."""

    def __init__(self, config: ConnectionConfig, remote: PublicKey | None = None, seed: int = 0):
        self.random = Random(seed).randbytes if seed else os.urandom
        self.connection = Connection(config, self.random, NOW, remote)
        self.events: list[ConnectionEvent] = []
        self.uneventful = 0
        """The number of Uneventful events."""
        self.accepts = True
        if remote is not None:
            self.compute(self.connection.next_event())

    def receive(self, data: bytes, now: float = NOW) -> None:
        left = memoryview(data)
        while left:
            room = self.connection.get_buffer(len(left))
            count = min(len(room), len(left))
            room[:count] = left[:count]
            left = left[count:]
            self.connection.buffer_updated(count, now)
            self.pull()

    def compute(self, step: object) -> None:
        assert isinstance(step, HandshakeStep)
        self.connection.handshake_computed(step.compute())

    def pull(self) -> None:
        while (event := self.connection.next_event()) is not None:
            if isinstance(event, HandshakeStep):
                self.compute(event)
                continue
            if isinstance(event, Uneventful):
                self.uneventful += 1
                continue
            self.events.append(event)
            if isinstance(event, Authenticated) and self.accepts:
                self.connection.accept()

    def take(self) -> bytes:
        return b"".join(self.connection.data_to_send())

    @property
    def pending(self) -> int:
        """Number of bytes that `take` would return."""
        return sum(map(len, self.connection._handshake.unsent)) + self.connection.unencrypted

    def at(self, now: float) -> None:
        self.connection.handle_timer(now)
        self.pull()

    @property
    def closed(self) -> Closed:
        assert isinstance(self.events[-1], Closed), self.events
        return self.events[-1]

    @property
    def packets(self) -> list[tuple[int, bytes]]:
        return [(event.code, event.payload) for event in self.events if isinstance(event, Packet)]


def deliver(to: Connection | Link, data: bytes) -> None:
    """Receive this in one read."""
    size = len(data)
    to.get_buffer(size)[:size] = data
    if isinstance(to, Link):
        to.buffer_updated(size)
    else:
        to.buffer_updated(size, NOW)


def transfer(alice: Side, bob: Side, now: float = NOW) -> None:
    """Carry bytes both ways until there are none."""
    alice.pull()
    bob.pull()
    while any(sizes := (alice.pending, bob.pending)):
        to_bob, to_alice = alice.take(), bob.take()
        assert (len(to_bob), len(to_alice)) == sizes
        bob.receive(to_bob, now)
        alice.receive(to_alice, now)


def pair(
    alice_config: ConnectionConfig = ALICE_CONFIG, bob_config: ConnectionConfig = BOB_CONFIG
) -> tuple[Side, Side]:
    """Two ends of an established connection."""
    alice, bob = Side(alice_config, BOB.public_key), Side(bob_config)
    transfer(alice, bob)
    return alice, bob


class RawPeer:
    """An initiator that can send anything to a connection of Bob's."""

    def __init__(self, config: ConnectionConfig = BOB_CONFIG, *, greets: bool = True) -> None:
        self.bob = Side(config)
        self.bob_version = config.p2p_version
        initiator = Initiator(ALICE, BOB.public_key, os.urandom)
        self.bob.receive(initiator.auth)
        ack, *rest = self.bob.connection.data_to_send()
        self.codec = FrameCodec(*initiator.finish(ack))
        self.codec.feed(b"".join(rest))
        self.hello, _ = self.read()
        self.compresses = False
        if greets:
            self.greet()

    def read(self) -> tuple[int, bytes]:
        frame = self.codec.next_frame()
        assert frame is not None
        item, size = rlp.decode_prefix(frame[:5])
        return rlp.as_int(item), bytes(frame[size:])

    def greet(self, version: int = 5, identity: bytes = ALICE_ID, name: str = "waku") -> None:
        hello = Hello(version, "raw", (Capability(name, 1),), 0, identity)
        self.say(0, hello.encode(), compress=False)
        self.compresses = min(version, self.bob_version) >= 5

    def say(self, message_id: int, data: bytes, *, compress: bool | None = None) -> None:
        if self.compresses if compress is None else compress:
            data = bytes(snappy.compress_raw(data))
        self.say_frame(rlp.encode(message_id) + data)

    def say_frame(self, frame: bytes) -> None:
        self.bob.receive(self.codec.encode(frame))

    def hear(self) -> tuple[int, bytes]:
        """The only packet that Bob has answered."""
        self.codec.feed(self.bob.take())
        message_id, data = self.read()
        assert self.codec.next_frame() is None
        return message_id, bytes(snappy.decompress_raw(data)) if self.compresses else data

    def assert_refused(self, error: type[ProtocolError]) -> None:
        """Check that Bob sent us the reason and counted the error."""
        closed = self.bob.closed
        assert type(closed.error) is error
        assert (closed.reason, closed.by_peer) == (error.reason, False)
        message_id, data = self.hear()
        assert message_id == 1
        assert decode_disconnect(data) == error.reason
        assert data[0] == 0xC1


both_versions = pytest.mark.parametrize("version", [5, 4])
