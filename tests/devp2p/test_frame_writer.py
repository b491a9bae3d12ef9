"""Frames to be sent, of one connection or several side by side, with every way of Keccak."""

from collections.abc import Sequence
from typing import Literal, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.codec import OracleSender
from wakumail.base.rlp import encode, join_list
from wakumail.base.snappy import inflate, store_prefix
from wakumail.devp2p.frame_reader import FrameReader
from wakumail.devp2p.frame_writer import Encryption, FrameWriter, _encrypt_with
from wakumail.errors import RlpError

AES_KEY = bytes(range(32))
RATE = 136  # bytes per permutation of Keccak
Way = Literal["portable", "bmi", "avx2", "avx512"]
Packets = Sequence[tuple[bytes, bytes]]


def is_possible(way: Way) -> bool:
    """True if this processor can run `way`."""
    try:
        _encrypt_with(way, [])
    except ValueError:
        return False
    return True


WAYS = [way for way in get_args(Way) if is_possible(way)]
in_every_way = pytest.mark.parametrize("way", WAYS)


def secrets(number: int) -> tuple[bytes, bytes, bytes]:
    """Seeds of different sizes: the MAC of each connection begins at another place in a block."""
    return AES_KEY, bytes([number] * 32), bytes(37 * number)


def pattern(size: int) -> bytes:
    """`size` bytes in which no two blocks are equal."""
    return bytes((i * 7 + i // 251) % 256 for i in range(size))


def encrypt(way: Way, jobs: Sequence[Packets]) -> list[bytes]:
    """The frames of packets (prefix and data) of several connections."""
    writers = [FrameWriter(*secrets(number)) for number in range(len(jobs))]
    for writer, packets in zip(writers, jobs, strict=True):
        for prefix, data in packets:
            writer.add(data, prefix)
    return _encrypt_with(way, writers)


def oracle(jobs: Sequence[Packets]) -> list[bytes]:
    """The same with pycryptodome, one after the other."""
    senders = [OracleSender(*secrets(number)) for number in range(len(jobs))]
    return [
        b"".join(sender.encode(prefix + data) for prefix, data in packets)
        for sender, packets in zip(senders, jobs, strict=True)
    ]


near_edges = st.builds(
    lambda blocks, delta: pattern(max(1, blocks * RATE + delta)),
    st.one_of(st.integers(0, 5), st.integers(15, 35)),
    st.integers(-40, 40),
)
packets = st.tuples(st.binary(max_size=40), near_edges)


@in_every_way
@given(jobs=st.lists(st.lists(packets, max_size=4), max_size=9))
@settings(max_examples=60, deadline=None)
def test_side_by_side_as_one_by_one(way: Way, jobs: list[Packets]) -> None:
    assert encrypt(way, jobs) == oracle(jobs)


@in_every_way
@pytest.mark.parametrize("count", range(1, 10))
def test_counts_around_the_lanes(way: Way, count: int) -> None:
    jobs = [[(b"\x11", pattern(5000 + 700 * number))] for number in range(count)]
    assert encrypt(way, jobs) == oracle(jobs)


@in_every_way
@pytest.mark.parametrize("place", [0, 2, 5])
def test_one_long_among_short(way: Way, place: int) -> None:
    jobs = [[(b"\x11", pattern(40 * number + 1))] * 3 for number in range(6)]
    jobs[place] = [(b"\x12", pattern(60_000)), (b"\x13", b"behind it")]
    assert encrypt(way, jobs) == oracle(jobs)


@in_every_way
def test_every_size_up_to_two_blocks(way: Way) -> None:
    """The MAC goes on from frame to frame, so the data begin at every place in a block."""
    jobs = [[(b"", pattern(size)) for size in range(1, 2 * RATE + 2)]]
    assert encrypt(way, jobs) == oracle(jobs)


lists = st.lists(st.one_of(st.binary(max_size=40), near_edges).map(encode), max_size=9).map(
    lambda items: (join_list(items), [join_list([item]) for item in items])
)


@in_every_way
@given(pages=st.lists(lists, max_size=4), stored=st.booleans())
@settings(max_examples=60, deadline=None)
def test_each_item_of_a_list_as_if_it_was_added_alone(
    way: Way, pages: list[tuple[bytes, list[bytes]]], *, stored: bool
) -> None:
    writer, sender = FrameWriter(*secrets(1)), OracleSender(*secrets(1))
    reader = FrameReader(*secrets(1))
    expected: list[bytes] = []
    for page, parts in pages:
        assert writer.add_each(page, b"\x81\x8f", stored=stored) == sum(map(len, parts))
        writer.add(b"between", b"\x11")
        blocks = [store_prefix(len(part)) + part if stored else part for part in parts]
        expected += [*(b"\x81\x8f" + block for block in blocks), b"\x11between"]
    frames = b"".join(map(sender.encode, expected))
    assert writer.waiting == len(frames)
    assert _encrypt_with(way, [writer]) == [frames]
    assert writer.waiting == 0
    reader.feed(frames)
    read = [bytes(frame) for frame in iter(reader.next_frame, None)]
    assert read == expected
    if stored:
        inflated = [inflate(each[2:], len(each)) for each in read if each[0] == 0x81]
        assert inflated == [part for _, parts in pages for part in parts]


@pytest.mark.parametrize(
    ("items", "error"),
    [
        (b"", RlpError),
        (b"\x83abc", RlpError),
        (b"\xc3\x01\x02", RlpError),
        (b"\xc2\x01\x02\x03", RlpError),
        (b"\xc3\x01\x82a", RlpError),
        (b"\xc3\x01\x81\x05", RlpError),
        (join_list([b"\x01", encode(bytes((1 << 24) - 1))]), ValueError),
    ],
)
def test_a_list_that_cannot_be_added_adds_nothing(items: bytes, error: type[Exception]) -> None:
    writer, sender = FrameWriter(*secrets(1)), OracleSender(*secrets(1))
    writer.add(b"before")
    waiting = writer.waiting
    with pytest.raises(error):
        writer.add_each(items, b"\x11", stored=True)
    assert writer.waiting == waiting
    assert writer.encrypt() == sender.encode(b"before")


@in_every_way
def test_streams_go_on_from_call_to_call(way: Way) -> None:
    writers = [FrameWriter(*secrets(number)) for number in range(5)]
    senders = [OracleSender(*secrets(number)) for number in range(5)]
    for turn in range(6):
        data = pattern(1 + 977 * turn)
        chosen = [number for number in range(5) if (number + turn) % 3]
        for number in chosen:
            writers[number].add(data)
        frames = _encrypt_with(way, [writers[number] for number in chosen])
        assert frames == [senders[number].encode(data) for number in chosen]


def test_all_that_waits_of_one_connection() -> None:
    contents = [pattern(size) for size in (1, 16, 40, 3000, 100_000)]
    writer, sender = FrameWriter(*secrets(1)), OracleSender(*secrets(1))
    for data in contents:
        writer.add(data)
    expected = b"".join(map(sender.encode, contents))
    assert writer.waiting == len(expected)
    assert writer.encrypt() == expected
    assert writer.waiting == 0
    assert writer.encrypt() == b""
    writer.add(b"more")
    assert _encrypt_with("portable", [writer]) == [sender.encode(b"more")]


def test_a_writer_is_encrypted_by_one_at_a_time() -> None:
    writer = FrameWriter(*secrets(1))
    writer.add(b"once")
    for _ in range(2):  # it cannot be used again: nobody knows what was sent
        with pytest.raises(RuntimeError, match="being encrypted"):
            Encryption([writer, writer])


def test_what_is_no_writer_and_no_way() -> None:
    with pytest.raises(TypeError):
        Encryption([b"writer"])  # type: ignore[list-item]
    with pytest.raises(KeyError):
        _encrypt_with("abacus", [])  # type: ignore[arg-type]
    assert "portable" in WAYS
