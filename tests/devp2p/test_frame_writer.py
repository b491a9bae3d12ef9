"""Frames to be sent, of one connection or several side by side, with every way of Keccak."""

from collections.abc import Sequence
from typing import Literal, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.codec import OracleSender
from wakumail.devp2p.frame_writer import Encryption, FrameWriter, _encrypt_with

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
