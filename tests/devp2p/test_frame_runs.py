"""Messages packets that come together are taken together; nothing else changes."""

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from cramjam import snappy
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.codec import FrameCodec, chunks, left, right
from tests.support.connections import MAX_PACKET, RawPeer, deliver
from tests.support.envelope_oracle import (
    FREE,
    GOOD,
    Fields,
    envelopes_of,
    errors_of,
    keccak256,
    packet_of,
)
from tests.support.envelope_oracle import NOW as UNIX_NOW
from tests.support.envelopes import make
from tests.support.peers import MESSAGES, UNIX_TIME, PeerSide, carry, pair, the
from wakumail.base import rlp
from wakumail.base.snappy import inflate
from wakumail.devp2p.connection_events import Closed, Packet, Packets
from wakumail.devp2p.frame_reader import MAX_RUN_LENGTH, MAX_RUN_SIZE
from wakumail.devp2p.packets import MessageId
from wakumail.errors import FrameError, PacketError, PacketTooLarge, ProtocolError, RlpError
from wakumail.waku import packets as waku
from wakumail.waku.confirmations import NO_ERRORS, encode_batch_ack
from wakumail.waku.envelope import Batch, Verdict, judge, judge_packets
from wakumail.waku.packets import Code, StatusOptions
from wakumail.waku.peer_events import EnvelopesReceived

OURS, OTHER = b"\x11", b"\x12"
LIMIT = 4000
"""Bytes that a payload may inflate to, in these tests."""


def split(payloads: bytes, ends: Sequence[int]) -> list[bytes]:
    """The packets of a run."""
    return [payloads[start:end] for start, end in itertools.pairwise([0, *ends])]


def packed(data: bytes) -> bytes:
    return bytes(snappy.compress_raw(data))


# -- frames ---------------------------------------------------------------------------------------


def read(frame: memoryview, compressed: bool) -> tuple[bytes, bytes]:
    """The message id and the payload of a frame."""
    data = bytes(frame[1:])
    if frame[:1] == OURS and compressed:
        data = inflate(data, LIMIT)
    elif frame[:1] == OURS and len(data) > LIMIT:
        raise PacketTooLarge("too large")
    return bytes(frame[:1]), data


def pull(codec: FrameCodec, compressed: bool, *, together: bool) -> list[Any]:
    """All frames that have come, up to the first fault, and the fault."""
    found: list[Any] = []
    try:
        while True:
            if together and (run := codec.next_payloads(OURS, LIMIT, compressed=compressed)):
                assert run[1]
                found += [(OURS, payload) for payload in split(*run)]
            elif (frame := codec.next_frame()) is not None:
                found.append(read(frame, compressed))
                assert not together or found[-1][0] == OTHER, "it belongs into a run"
            else:
                return found
    except (FrameError, PacketError, PacketTooLarge) as error:
        return [*found, (type(error), str(error))]


payloads = st.binary(max_size=40) | st.integers(0, LIMIT).map(bytes)
frames = st.one_of(
    st.tuples(st.just(OURS), payloads.map(packed)),
    st.tuples(st.just(OURS), st.sampled_from([bytes(LIMIT + 1), b"", b"\xff"])),
    st.tuples(st.just(OTHER), st.binary(max_size=40)),
)
mostly_good = st.lists(
    st.tuples(st.just(OURS), payloads.map(packed)) | frames, min_size=1, max_size=12
)


@pytest.mark.parametrize("compressed", [True, False])
@given(
    packets=mostly_good,
    cuts=st.lists(st.integers(0, 2**20), max_size=6),
    spoilt=st.none() | st.integers(0, 2**20),
)
@settings(max_examples=150, deadline=None)
def test_a_run_holds_what_the_frames_hold(
    compressed: bool, packets: list[tuple[bytes, bytes]], cuts: list[int], spoilt: int | None
) -> None:
    source, one, other = right(), left(), left()
    wire = bytearray(b"".join(source.encode(data, prefix) for prefix, data in packets))
    if spoilt is not None:
        wire[spoilt % len(wire)] ^= 1
    for chunk in chunks(bytes(wire), cuts):
        one.feed(chunk)
        other.feed(chunk)
        singly = pull(one, compressed, together=False)
        assert pull(other, compressed, together=True) == singly
        if singly and isinstance(singly[-1][0], type):
            return
        assert (one.buffered, one.capacity) == (other.buffered, other.capacity)


def test_a_run_ends_before_a_frame_of_another_kind() -> None:
    source, codec = right(), left()
    for prefix in (OURS, OURS, OTHER, OURS):
        codec.feed(source.encode(packed(b"data"), prefix))
    assert codec.next_payloads(OURS, LIMIT, compressed=True) == (b"datadata", [4, 8])
    for _ in range(2):
        assert codec.next_payloads(OURS, LIMIT, compressed=True) is None
    frame = codec.next_frame()
    assert frame is not None
    assert bytes(frame[:1]) == OTHER
    assert codec.next_payloads(OURS, LIMIT, compressed=True) == (b"data", [4])
    assert codec.next_frame() is None


def test_an_opened_frame_outlives_what_comes_after_it() -> None:
    source, codec = right(), left()
    codec.feed(source.encode(b"data", OTHER))
    for _ in range(3):
        assert codec.next_payloads(OURS, LIMIT, compressed=True) is None
        codec.get_buffer(-1)
        codec.feed(source.encode(bytes(50_000), OTHER))
    frame = codec.next_frame()
    assert frame is not None
    assert bytes(frame) == OTHER + b"data"


def test_a_wrong_mac_is_told_after_the_frames_before_it() -> None:
    source, codec = right(), left()
    codec.feed(source.encode(b"data", OURS))
    codec.feed(source.encode(b"more", OURS)[:-1] + b"\0")
    assert codec.next_payloads(OURS, LIMIT, compressed=False) == (b"data", [4])
    codec.received(0)
    assert codec.next_payloads(OURS, LIMIT, compressed=False) is None
    with pytest.raises(FrameError, match="wrong MAC"):
        codec.next_frame()
    with pytest.raises(FrameError, match="before"):
        codec.next_payloads(OURS, LIMIT, compressed=False)


def test_a_prefix_of_several_bytes() -> None:
    source, codec = right(), left()
    prefix = rlp.encode(0x91)
    codec.feed(source.encode(b"data", prefix) + source.encode(b"", prefix[:1]))
    assert codec.next_payloads(prefix, LIMIT, compressed=False) == (b"data", [4])
    assert codec.next_payloads(prefix, LIMIT, compressed=False) is None
    frame = codec.next_frame()
    assert frame is not None
    assert bytes(frame) == prefix[:1]


@pytest.mark.parametrize(
    ("size", "lengths"),
    [
        (0, [MAX_RUN_LENGTH, MAX_RUN_LENGTH, 3]),
        (MAX_RUN_SIZE // 100, [100, 100, 100]),
        (MAX_RUN_SIZE // 2 + 1, [1, 1]),
        (MAX_RUN_SIZE, [1, 1]),
    ],
)
def test_runs_are_bounded(size: int, lengths: list[int]) -> None:
    source, codec = right(), left()
    for _ in range(sum(lengths)):
        codec.feed(source.encode(packed(bytes(size)), OURS))
    found = []
    while run := codec.next_payloads(OURS, MAX_RUN_SIZE, compressed=True):
        assert len(run[0]) == size * len(run[1]) <= MAX_RUN_SIZE
        found.append(len(run[1]))
    assert found == lengths


# -- connections ----------------------------------------------------------------------------------


def gathering() -> RawPeer:
    """A peer that can send anything to a connection that gathers Messages packets."""
    peer = RawPeer()
    (shared,) = peer.bob.connection._shared
    peer.bob.connection.gather(shared, Code.MESSAGES)
    return peer


def wire_of(peer: RawPeer, *payloads: bytes) -> bytes:
    return b"".join(peer.codec.encode(b"\x11" + packed(payload)) for payload in payloads)


def test_larger_packets_come_alone() -> None:
    peer = gathering()
    large = bytes(MAX_RUN_SIZE + 1)
    peer.bob.receive(wire_of(peer, b"1", b"2", large, b"3"))
    assert [type(event) for event in peer.bob.events[2:]] == [Packets, Packet, Packets]
    assert peer.bob.packets == [(Code.MESSAGES, large)]


@pytest.mark.parametrize(
    ("payload", "counter"),
    [(packed(bytes(MAX_PACKET + 1)), "packet_too_large"), (b"\x05x", "packet_malformed")],
)
def test_what_is_wrong_ends_it_after_what_was_right(payload: bytes, counter: str) -> None:
    peer = gathering()
    wire = wire_of(peer, b"1", b"2") + peer.codec.encode(b"\x11" + payload) + wire_of(peer, b"3")
    peer.bob.receive(wire)
    *_, packets, closed = peer.bob.events
    assert packets == Packets(b"12", [1, 2])
    assert isinstance(closed, Closed)
    assert closed.error is not None
    assert closed.error.counter == counter


def test_who_stops_asking_stops_the_work() -> None:
    peer = gathering()
    connection = peer.bob.connection
    wire = wire_of(peer, *[b"x"] * (MAX_RUN_LENGTH + 1))
    deliver(connection, wire)
    assert connection.next_event() == Packets(
        b"x" * MAX_RUN_LENGTH, list(range(1, MAX_RUN_LENGTH + 1))
    )
    assert connection._reader.buffered == len(wire) // (MAX_RUN_LENGTH + 1)


# -- envelopes ------------------------------------------------------------------------------------


def contents(batch: Batch) -> list[Any]:
    """All envelopes in order, each with its verdict."""
    return [
        (each.rlp, each.hash, each.topic, each.created, batch.verdict(i))
        for i, each in enumerate(batch)
    ]


malformed = st.sampled_from([b"", b"\x80", b"\xc1\xc0", packet_of([GOOD])[:-1]]) | st.builds(
    lambda good: rlp.join_list([*(fields.rlp for fields in good), b"\x80"]),
    st.lists(envelopes_of, max_size=3),
)
packets_of = st.lists(
    st.lists(envelopes_of, max_size=4).map(packet_of) | malformed, min_size=1, max_size=8
)


@pytest.mark.parametrize("confirming", [True, False])
@given(packets=packets_of)
@settings(max_examples=100, deadline=None)
def test_packets_are_judged_together_as_alone(confirming: bool, packets: list[bytes]) -> None:
    ends = list(itertools.accumulate(map(len, packets)))
    batch = judge_packets(b"".join(packets), ends, FREE, UNIX_NOW, confirming=confirming)
    alone = []
    for packet in packets:
        try:
            alone.append(judge(packet, FREE, UNIX_NOW, confirming=confirming))
        except RlpError:
            continue
    assert (batch.packets, batch.malformed) == (len(alone), len(packets) - len(alone))
    assert contents(batch) == [each for one in alone for each in contents(one)]
    assert batch.confirmations == [each for one in alone for each in one.confirmations]
    assert batch.accepted == sum(one.accepted for one in alone)
    assert batch.accepted_size == sum(one.accepted_size for one in alone)


def test_each_packet_is_confirmed_with_its_own_errors() -> None:
    old, future = Fields(UNIX_NOW - 60, 10), Fields(UNIX_NOW + 90, 10)
    packets = [packet_of([old, GOOD]), b"\x80", packet_of([GOOD, future, old]), packet_of([GOOD])]
    ends = list(itertools.accumulate(map(len, packets)))
    batch = judge_packets(b"".join(packets), ends, FREE, UNIX_NOW, confirming=True)
    told_old, told_future = (old, Verdict.VERY_OLD), (future, Verdict.FROM_FUTURE)
    assert batch.confirmations == [
        (keccak256(packets[0]), errors_of([told_old])),
        (keccak256(packets[2]), errors_of([told_future, told_old])),
        (keccak256(packets[3]), NO_ERRORS),
    ]


@pytest.mark.parametrize("count", [1, 84, 85, 86, 127, 128, 129, 255, 256, 257, 600])
def test_hashes_of_runs_of_every_length(count: int) -> None:
    """The hashes of a run are computed a block at a time."""
    packets = [packet_of([GOOD._replace(nonce=number)]) for number in range(count)]
    ends = list(itertools.accumulate(map(len, packets)))
    batch = judge_packets(b"".join(packets), ends, FREE, UNIX_NOW, confirming=True)
    assert batch.confirmations == [(keccak256(packet), NO_ERRORS) for packet in packets]
    assert [e.hash for e in batch] == [keccak256(e.rlp) for e in batch]


@pytest.mark.parametrize("ends", [[2, 1], [-1], [4], [1, 4], [2**70], ["1"], [None]])
def test_ends_that_are_none(ends: list[Any]) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)):
        judge_packets(b"\xc0\xc0\xc0", ends, FREE, UNIX_NOW)


# -- peers ----------------------------------------------------------------------------------------

GOODS = [rlp.join_list([e.rlp]) for e in make(40, [b"topi"], created=UNIX_TIME)]
LATE = rlp.join_list([e.rlp for e in make(2, [b"topi"], created=UNIX_TIME - 1000)])
SPOILT = rlp.join_list([make(1, [b"topi"])[0].rlp, b"\x80"])


def told(side: PeerSide) -> tuple[list[Any], list[Any]]:
    """The packets and other events after the status, and all envelopes."""
    events: list[Any] = []
    envelopes: list[Any] = []
    for event in side.happened[2:]:
        if isinstance(event, EnvelopesReceived):
            events += event.batch.confirmations
            envelopes += contents(event.batch)
        else:
            events.append(event)
    return events, envelopes


said = st.one_of(
    st.sampled_from([*GOODS, LATE, SPOILT, MESSAGES]).map(lambda packet: (Code.MESSAGES, packet)),
    st.just((Code.P2P_REQUEST, b"request")),
    st.just((Code.BATCH_ACK, encode_batch_ack(bytes(32)))),
    st.sampled_from([0.25, 0.75]).map(
        lambda least: waku.WakuDialect(1).encode_update(StatusOptions(pow=least))[0]
    ),
    st.just((99, b"of the future")),
)


@given(said=st.lists(said, min_size=1, max_size=12), cuts=st.lists(st.integers(0, 2**20)))
@settings(max_examples=60, deadline=None)
def test_a_peer_hears_the_same_in_runs(said: list[tuple[int, bytes]], cuts: list[int]) -> None:
    (alice, bob), (anna, bert) = pair(), pair(limited=False)
    for one, other in ((alice, bob), (anna, bert)):
        for code, payload in said:
            one.peer._send(code, payload)
        for chunk in chunks(one.take(), cuts):
            other.receive(chunk)
    assert told(bert) == told(bob)
    assert bert.counters == bob.counters


def test_packets_that_come_together_are_one_batch() -> None:
    alice, bob = pair(limited=False)
    for packet in (GOODS[0], SPOILT, GOODS[1], LATE):
        alice.peer._send(Code.MESSAGES, packet)
    carry(alice, bob)
    batch = the(EnvelopesReceived, bob.happened[-1]).batch
    assert (batch.packets, batch.malformed, batch.accepted) == (3, 1, 2)
    assert bob.counters["packets_messages_malformed"] == 1


def test_none_but_malformed_packets_are_no_event() -> None:
    alice, bob = pair(limited=False)
    before = len(bob.happened)
    for _ in range(3):
        alice.peer._send(Code.MESSAGES, SPOILT)
    carry(alice, bob)
    assert len(bob.happened) == before
    assert bob.counters["packets_messages_malformed"] == 3


def test_a_limit_is_crossed_by_the_packet_that_crosses_it() -> None:
    """With a gate each packet is taken alone, and a refusal does not undo those before it."""
    alice, bob = pair()
    for packet in GOODS[:5]:
        alice.peer._send(Code.MESSAGES, packet)
    wire = alice.take()
    bob.refusal, bob.passes = ProtocolError("too much"), len(bob.gated) + 3
    before = len(bob.happened)
    bob.receive(wire)
    *received, closed = bob.happened[before:]
    assert [the(EnvelopesReceived, event).batch.packets for event in received] == [1, 1, 1]
    assert the(Closed, closed).error is bob.refusal


def test_a_goodbye_ends_a_run() -> None:
    alice, bob = pair(limited=False)
    alice.peer._send(Code.MESSAGES, GOODS[0])
    alice.connection._write(MessageId.DISCONNECT, rlp.encode([8]))
    alice.peer._send(Code.MESSAGES, GOODS[1])
    carry(alice, bob)
    received, closed = bob.happened[-2:]
    assert the(EnvelopesReceived, received).batch.packets == 1
    assert the(Closed, closed).by_peer
