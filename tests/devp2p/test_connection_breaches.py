import os
from dataclasses import replace
from typing import Any

import pytest
from cramjam import snappy
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.connections import (
    ALICE,
    ALICE_CONFIG,
    ALICE_ID,
    BOB,
    BOB_CONFIG,
    BOB_ID,
    MAX_PACKET,
    NOW,
    SHARED,
    RawPeer,
    Side,
    both_versions,
    transfer,
)
from wakumail.base import rlp
from wakumail.devp2p.connection_events import Closed, Established, Packet
from wakumail.devp2p.handshake import MAX_HANDSHAKE_PACKET
from wakumail.devp2p.packets import MAX_P2P_PACKET, WAKU, Hello
from wakumail.errors import (
    DisconnectReason,
    FrameError,
    HandshakeError,
    HelloError,
    IncompatibleVersion,
    NullIdentity,
    PacketError,
    PacketTooLarge,
    ProtocolError,
    UnexpectedIdentity,
    UselessPeer,
    WakumailError,
)

# -- from the handshake to the hello --------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [bytes(200), b"\xff" * 2, b"GET / HTTP/1.1\r\n", b"\x01\x00" + os.urandom(256), b"\x00\x72"],
)
def test_a_garbage_handshake_closes_without_a_word(garbage: bytes) -> None:
    bob, alice = Side(BOB_CONFIG), Side(ALICE_CONFIG, BOB.public_key)
    alice.take()
    for side in (bob, alice):
        side.receive(garbage)
        side.at(NOW + 5)
        assert isinstance(side.closed.error, HandshakeError)
        assert side.closed == Closed(None, by_peer=False, error=side.closed.error)
        side.receive(garbage)
        assert side.pending == 0
        assert len(side.events) == 1


def test_a_caller_of_somebody_else_is_refused() -> None:
    mallory = Side(ALICE_CONFIG, ALICE.public_key)
    bob = Side(BOB_CONFIG)
    transfer(mallory, bob)
    assert isinstance(bob.closed.error, HandshakeError)


def test_handshake_room_is_bounded() -> None:
    bob = Side(BOB_CONFIG)
    assert len(bob.connection.get_buffer(1 << 20)) == MAX_HANDSHAKE_PACKET
    bob.receive(b"\x07\xfe" + bytes(MAX_HANDSHAKE_PACKET - 3))
    assert len(bob.connection.get_buffer(1 << 20)) == 1
    bob.receive(b"\0")
    assert isinstance(bob.closed.error, HandshakeError)
    assert len(bob.connection.get_buffer(1 << 20)) > 0


@pytest.mark.parametrize(
    ("greeting", "error"),
    [
        ({"version": 3}, IncompatibleVersion),
        ({"identity": bytes(64)}, NullIdentity),
        ({"identity": BOB_ID}, UnexpectedIdentity),
        ({"name": "eth"}, UselessPeer),
    ],
)
def test_a_hello_is_refused(greeting: Any, error: type[ProtocolError]) -> None:
    for version in (5, 4):
        peer = RawPeer(greets=False)
        peer.greet(**({"version": version} | greeting))
        peer.assert_refused(error)


@pytest.mark.parametrize("data", [b"", b"garbage", b"\xc0", bytes(MAX_P2P_PACKET + 1)])
def test_a_malformed_hello(data: bytes) -> None:
    peer = RawPeer(greets=False)
    peer.say(0, data)
    peer.assert_refused(HelloError)


def test_a_long_hello_is_not_gathered() -> None:
    peer = RawPeer(greets=False)
    frame = peer.codec.encode(bytes(MAX_PACKET))
    peer.bob.receive(frame[: MAX_P2P_PACKET + 32])
    assert peer.bob.events == []
    peer.bob.receive(frame[MAX_P2P_PACKET + 32 : MAX_P2P_PACKET + 200])
    peer.assert_refused(HelloError)


def test_the_longest_hello_may_come_in_pieces() -> None:
    peer = RawPeer(greets=False)
    items = rlp.as_list(rlp.decode(Hello(5, "raw", WAKU, 0, ALICE_ID).encode()))
    room = MAX_P2P_PACKET - len(rlp.encode([*items, bytes(1000)])) + 1000
    hello = rlp.encode([*items, bytes(room)])
    assert len(hello) == MAX_P2P_PACKET
    frame = peer.codec.encode(hello, rlp.encode(0))
    for byte in frame:
        peer.bob.receive(bytes([byte]))
    assert isinstance(peer.bob.events[-1], Established)


@pytest.mark.parametrize("message_id", [2, 3, 4, 15, 16, 143, 5000])
def test_nothing_may_come_before_the_hello(message_id: int) -> None:
    peer = RawPeer(greets=False)
    peer.say(message_id, b"\xc0")
    peer.assert_refused(ProtocolError)


# -- packets that break a rule --------------------------------------------------------------------


@both_versions
def test_a_second_hello(version: int) -> None:
    peer = RawPeer(greets=False)
    peer.greet(version)
    peer.say(0, Hello(version, "raw", WAKU, 0, ALICE_ID).encode())
    peer.assert_refused(ProtocolError)


@both_versions
@pytest.mark.parametrize("message_id", [0x10 + 128, 0x10 + 129, 1 << 20, 0xFFFFFFFF])
def test_a_message_of_no_capability(version: int, message_id: int) -> None:
    peer = RawPeer(replace(BOB_CONFIG, p2p_version=version))
    peer.say(message_id, b"\xc0")
    peer.assert_refused(ProtocolError)


@both_versions
def test_unknown_p2p_messages_are_ignored(version: int) -> None:
    peer = RawPeer(replace(BOB_CONFIG, p2p_version=version))
    for message_id in range(3, 16):
        peer.say(message_id, os.urandom(10), compress=False)
    peer.say(0x10, b"\xc0")
    assert peer.bob.events[2:] == [Packet(SHARED, 0, b"\xc0")]
    assert peer.bob.pending == 0


@both_versions
def test_ping_is_answered(version: int) -> None:
    peer = RawPeer(replace(BOB_CONFIG, p2p_version=version))
    for data in (b"\xc0", b"", b"anything"):
        peer.say(2, data)
        assert peer.hear() == (3, b"\xc0")
    assert len(peer.bob.events) == 2


@pytest.mark.parametrize(
    "frame", [b"\x00", b"\xc0", b"\xc1\x10", b"\x81\x10", b"\x82\x00\x10", b"\x85" + b"\1" * 5]
)
@pytest.mark.parametrize("greets", [True, False])
def test_a_frame_without_a_message_id(frame: bytes, greets: bool) -> None:
    peer = RawPeer(greets=greets)
    peer.say_frame(frame)
    peer.assert_refused(PacketError)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", PacketError),
        (b"\xff" * 10, PacketError),
        (b"\x06\x10hello", PacketError),
        (b"\x04\x10hello", PacketError),
        (b"\x05\x10hell", PacketError),
        (b"\x05\x01\xff", PacketError),
        (b"\xff\xff\xff\xff\x0f", PacketTooLarge),
        (b"\x81\x80\x40" + b"\x00a" + b"\xfe\x01\x00" * 16384, PacketTooLarge),
        (b"\x80\x80\x40" + b"\x00a" + b"\xfe\x01\x00" * 16384, PacketError),
    ],
)
def test_snappy_that_is_none(data: bytes, error: type[ProtocolError]) -> None:
    peer = RawPeer()
    peer.say(0x10, data, compress=False)
    peer.assert_refused(error)


@both_versions
def test_the_largest_packet(version: int) -> None:
    for payload in (bytes(MAX_PACKET), os.urandom(MAX_PACKET)):
        peer = RawPeer(replace(BOB_CONFIG, p2p_version=version))
        peer.say(0x10, payload)
        assert peer.bob.packets == [(0, payload)]
        peer.say(0x10, payload + b"\0")
        peer.assert_refused(PacketTooLarge)


@pytest.mark.parametrize("greets", [True, False])
def test_a_frame_over_the_limit_closes_without_a_word(greets: bool) -> None:
    peer = RawPeer(greets=greets)
    peer.say_frame(bytes(BOB_CONFIG.max_frame + 1))
    assert isinstance(peer.bob.closed.error, FrameError)
    assert peer.bob.closed == Closed(None, by_peer=False, error=peer.bob.closed.error)
    assert peer.bob.pending == 0


@pytest.mark.parametrize("at", [0, 16, 32, -1])
def test_a_failed_mac_closes_without_a_word(at: int) -> None:
    peer = RawPeer()
    frame = bytearray(peer.codec.encode(b"\x10\xc0"))
    frame[at] ^= 1
    peer.bob.receive(bytes(frame))
    assert isinstance(peer.bob.closed.error, FrameError)
    assert peer.bob.closed == Closed(None, by_peer=False, error=peer.bob.closed.error)
    count = len(peer.bob.events)
    peer.say(2, b"\xc0")
    peer.bob.connection.send(SHARED, 0, b"late")
    peer.bob.connection.disconnect(DisconnectReason.QUITTING)
    peer.bob.connection.accept()
    peer.bob.at(NOW + 1000)
    assert peer.bob.pending == 0
    assert len(peer.bob.events) == count
    assert peer.bob.connection.next_timer() is None


# -- any bytes ------------------------------------------------------------------------------------


def assert_sound(side: Side) -> None:
    """At most one Closed, the last event, with an error that has a counter."""
    for event in side.events[:-1]:
        assert not isinstance(event, Closed)
    if side.events and isinstance(side.events[-1], Closed):
        error = side.events[-1].error
        assert error is None or error.counter != WakumailError.counter
    assert 0 < len(side.connection.get_buffer(1 << 16)) <= 1 << 18
    assert side.pending < 1 << 16


mutations = st.tuples(
    st.sampled_from(["flip", "cut", "double", "insert"]),
    st.booleans(),
    st.integers(0, 1500),
    st.binary(min_size=1, max_size=40),
)


def mutate(kind: str, data: bytes, at: int, noise: bytes) -> bytes:
    match kind:
        case "flip":
            return data[:at] + bytes([data[at] ^ (noise[0] or 1)]) + data[at + 1 :]
        case "cut":
            return data[:at] + data[at + len(noise) :]
        case "double":
            return data[: at + len(noise)] + data[at:]
        case _:
            return data[:at] + noise + data[at:]


@given(mutations, st.integers(1, 2**64))
@settings(max_examples=150, deadline=None)
def test_a_tampered_stream(mutation: tuple[str, bool, int, bytes], seed: int) -> None:
    kind, to_bob, at, noise = mutation
    alice, bob = Side(ALICE_CONFIG, BOB.public_key, seed), Side(BOB_CONFIG, seed=seed + 1)
    sent = [(code, bytes([code]) * 200) for code in range(3)]
    passed = [0, 0]
    for step in range(8):
        for way, (ours, theirs) in enumerate(((alice, bob), (bob, alice))):
            ours.pull()
            data = ours.take()
            here = at - passed[way]
            passed[way] += len(data)
            if way != to_bob and 0 <= here < len(data):
                data = mutate(kind, data, here, noise)
            theirs.receive(data)
        if step < 5 and len(alice.events) == len(bob.events) == 2:
            for code, payload in sent:
                alice.connection.send(SHARED, code, payload)
                bob.connection.send(SHARED, code, payload)
    for side in (alice, bob):
        assert_sound(side)
        assert side.packets == sent[: len(side.packets)]
        side.at(NOW + 15)
        side.at(NOW + 30)
        assert_sound(side)
        assert side.closed


frames = st.one_of(
    st.binary(min_size=1, max_size=60),
    st.tuples(st.integers(0, 160), st.binary(max_size=60)).map(
        lambda packet: rlp.encode(packet[0]) + packet[1]
    ),
    st.tuples(st.integers(0, 160), st.binary(max_size=60)).map(
        lambda packet: rlp.encode(packet[0]) + bytes(snappy.compress_raw(packet[1]))
    ),
)


@given(st.lists(frames, max_size=8), st.booleans(), st.sampled_from([4, 5]))
@settings(max_examples=200, deadline=None)
def test_any_packets(said: list[bytes], greets: bool, version: int) -> None:
    peer = RawPeer(replace(BOB_CONFIG, p2p_version=version), greets=greets)
    for frame in said:
        peer.say_frame(frame)
        assert_sound(peer.bob)
