"""Keccak-256 against two other implementations, in every way this processor can compute it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import pytest
from Crypto.Hash import keccak as crypto_keccak
from eth_hash.auto import keccak as eth_keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vectors import VECTORS
from wakumail.base.keccak import Keccak256, _keccak256_many_with, keccak256, keccak256_many

RATE = 136  # bytes per permutation: all edge cases are near its multiples
Way = Literal["portable", "bmi", "avx2", "avx512"]


def oracle(data: bytes) -> bytes:
    """The digest by pycryptodome."""
    digest: bytes = crypto_keccak.new(digest_bits=256, data=data).digest()
    return digest


def is_possible(way: Way) -> bool:
    """True if this processor can run `way`."""
    try:
        _keccak256_many_with(way, [])
    except ValueError:
        return False
    return True


def pattern(size: int) -> bytes:
    """`size` bytes in which all blocks differ."""
    return bytes((i * 7 + i // 251) % 256 for i in range(size))


WAYS = [way for way in get_args(Way) if is_possible(way)]
EDGES = [0, 1, 7, 8, 9, *(n * RATE + d for n in (1, 2, 3) for d in (-9, -8, -2, -1, 0, 1, 2, 8))]

near_edges = st.builds(
    lambda blocks, delta, seed: (seed * (RATE * 6 // len(seed) + 1))[
        : max(0, blocks * RATE + delta)
    ],
    st.integers(0, 5),
    st.integers(-3, 3),
    st.binary(min_size=1, max_size=64),
)
pieces = st.lists(st.one_of(near_edges, st.binary(max_size=40)), max_size=3).map(tuple)


def test_known_answers() -> None:
    assert keccak256(b"").hex() == (
        "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    )
    assert keccak256(b"abc").hex() == (
        "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"
    )


def test_envelope_hashes_of_status_go() -> None:
    cases = [case for case in VECTORS["envelopes"]["cases"] if "rlp" in case]
    rlps = [bytes.fromhex(case["rlp"]) for case in cases]
    hashes = [bytes.fromhex(case["hash"]) for case in cases]
    assert cases
    assert [keccak256(rlp) for rlp in rlps] == hashes
    assert keccak256_many(rlps) == hashes


@pytest.mark.parametrize("size", EDGES)
def test_one_message_at_the_edges(size: int) -> None:
    data = pattern(size)
    assert keccak256(data) == oracle(data) == eth_keccak(data)


@given(st.one_of(near_edges, st.binary(max_size=300)))
@settings(max_examples=100, deadline=None)
def test_one_message(data: bytes) -> None:
    assert keccak256(data) == oracle(data)


def test_a_long_message() -> None:
    data = pattern(100_003)
    assert keccak256(data) == oracle(data)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_contiguous_buffer(kind: type[bytes]) -> None:
    assert keccak256(kind(b"wakumail")) == oracle(b"wakumail")
    assert Keccak256(kind(b"wakumail")).digest() == oracle(b"wakumail")


def test_what_is_no_buffer() -> None:
    with pytest.raises(TypeError):
        keccak256("text")  # type: ignore[arg-type]
    with pytest.raises(BufferError):
        keccak256(memoryview(b"abcdef")[::2])
    with pytest.raises(TypeError):
        keccak256_many([b"fine", "text"])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        keccak256_many([bytearray(b"could change meanwhile")])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        Keccak256().update(7)  # type: ignore[arg-type]


def test_the_ways_end_with_the_portable_one() -> None:
    assert "portable" in WAYS
    with pytest.raises(KeyError):
        _keccak256_many_with("abacus", [])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pieces"):
        _keccak256_many_with("portable", [(b"a", b"b", b"c", b"d")])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 7, 8, 9, 17])
def test_counts_around_the_lanes(way: Way, count: int) -> None:
    messages = [pattern(13 * i) for i in range(count)]
    assert _keccak256_many_with(way, [(m,) for m in messages]) == [oracle(m) for m in messages]


@pytest.mark.parametrize("way", WAYS)
def test_edges_in_every_way(way: Way) -> None:
    messages = [pattern(size) for size in EDGES]
    assert _keccak256_many_with(way, [(m,) for m in messages]) == [oracle(m) for m in messages]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", [0, 3, 30])
def test_one_long_among_short(way: Way, place: int) -> None:
    messages = [pattern(i) for i in range(31)]
    messages[place] = pattern(5 * RATE + place)
    assert _keccak256_many_with(way, [(m,) for m in messages]) == [oracle(m) for m in messages]


@pytest.mark.parametrize("way", WAYS)
@given(messages=st.lists(pieces, max_size=20))
@settings(max_examples=60, deadline=None)
def test_pieces_in_every_way(way: Way, messages: Sequence[tuple[bytes, ...]]) -> None:
    expected = [oracle(b"".join(message)) for message in messages]
    assert _keccak256_many_with(way, messages) == expected


@given(st.lists(st.one_of(near_edges, st.binary(max_size=40)), max_size=20))
@settings(max_examples=60, deadline=None)
def test_many(messages: list[bytes]) -> None:
    assert keccak256_many(iter(messages)) == [oracle(message) for message in messages]


@given(st.lists(st.one_of(near_edges, st.binary(max_size=40)), max_size=8))
@settings(max_examples=100, deadline=None)
def test_split_updates(parts: list[bytes]) -> None:
    sponge = Keccak256()
    for i, part in enumerate(parts):
        sponge.update(part)
        assert sponge.digest() == oracle(b"".join(parts[: i + 1]))
    assert sponge.digest() == sponge.digest() == oracle(b"".join(parts))


@given(near_edges, near_edges, near_edges)
@settings(max_examples=50, deadline=None)
def test_copies_go_their_own_way(start: bytes, left: bytes, right: bytes) -> None:
    sponge = Keccak256(start)
    twin = sponge.copy()
    sponge.update(left)
    twin.update(right)
    assert sponge.digest() == oracle(start + left)
    assert twin.digest() == oracle(start + right)


def test_init_starts_over() -> None:
    sponge = Keccak256(pattern(200))
    sponge.__init__(b"again")  # type: ignore[misc]
    assert sponge.digest() == oracle(b"again")
    assert Keccak256.__new__(Keccak256).digest() == oracle(b"")


@pytest.mark.parametrize(
    ("way", "flags"),
    [("bmi", {"bmi1", "bmi2"}), ("avx2", {"avx2"}), ("avx512", {"avx512f", "avx512vl"})],
)
def test_the_processor_is_known(way: Way, flags: set[str]) -> None:
    """As the kernel tells its features."""
    assert is_possible(way) == (flags <= set(Path("/proc/cpuinfo").read_text().split()))
