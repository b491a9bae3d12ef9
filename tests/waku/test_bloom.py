"""Blooms against the vectors of the deployed code and against the text of 6/WAKU1."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.vectors import VECTORS
from wakumail.waku import bloom
from wakumail.waku.bloom import BLOOM_SIZE, FULL_BLOOM, TOPIC_SIZE

topics = st.binary(min_size=TOPIC_SIZE, max_size=TOPIC_SIZE)
blooms = st.binary(min_size=BLOOM_SIZE, max_size=BLOOM_SIZE)
# One topic in 24 has two or three bits in one byte: generate more of them.
clashing = st.builds(
    lambda high, low, last: bytes(
        [high << 3 | low[0], high << 3 | low[1], high << 3 | low[2], last]
    ),
    st.integers(0, 31),
    st.tuples(st.integers(0, 7), st.integers(0, 7), st.integers(0, 7)),
    st.integers(0, 255),
)


def bits_of(topic: bytes) -> list[int]:
    """The bit numbers of 6/WAKU1, "Bloom Filter Field"."""
    return [topic[place] + 256 * (topic[3] >> place & 1) for place in range(3)]


def with_bits(bits: list[int]) -> bytes:
    return sum(1 << bit for bit in set(bits)).to_bytes(BLOOM_SIZE, "little")


def go_bits(topic: bytes) -> list[int]:
    """The bits that stay if each one overwrites the byte that it is in."""
    return list({bit >> 3: bit for bit in bits_of(topic)}.values())


def joined(samples: list[bytes]) -> bytes:
    value = 0
    for sample in samples:
        value |= int.from_bytes(sample, "big")
    return value.to_bytes(BLOOM_SIZE, "big")


@pytest.mark.parametrize("case", VECTORS["bloom"], ids=lambda case: case["topic"])
def test_vectors(case: dict[str, Any]) -> None:
    topic = bytes.fromhex(case["topic"])
    assert bloom.topic_bloom(topic).hex() == case["bloom"]
    assert with_bits(case["bits"]).hex() == case["bloom"]
    assert bloom.bloom_of([topic]).hex() == case["spec_bloom"]
    assert (bloom.topic_bloom(topic) == bloom.bloom_of([topic])) == case["equals_spec"]


def test_vectors_tell_the_two_forms_apart() -> None:
    assert {case["equals_spec"] for case in VECTORS["bloom"]} == {True, False}


@pytest.mark.parametrize("case", VECTORS["bloom_match"], ids=lambda case: case["sample_topic"])
def test_match_vectors(case: dict[str, Any]) -> None:
    filters = [bytes.fromhex(topic) for topic in case["filter_topics"]]
    sample = bytes.fromhex(case["sample_topic"])
    filter_bloom = joined([bloom.topic_bloom(topic) for topic in filters])
    assert bloom.covers(filter_bloom, sample) == case["match"]


@given(topics | clashing)
@example(b"\xff\xff\xff\xff")
@settings(max_examples=200, deadline=None)
def test_both_forms(topic: bytes) -> None:
    assert bloom.topic_bloom(topic) == with_bits(go_bits(topic))
    assert bloom.bloom_of([topic]) == with_bits(bits_of(topic))


@given(topics | clashing, st.data())
@settings(max_examples=200, deadline=None)
def test_covers_needs_every_bit_of_the_go_form_and_no_other(topic: bytes, data: Any) -> None:
    needed = go_bits(topic)
    assert bloom.covers(with_bits(needed), topic)
    missing = data.draw(st.sampled_from(needed))
    everything_else = with_bits([bit for bit in range(8 * BLOOM_SIZE) if bit != missing])
    assert not bloom.covers(everything_else, topic)


@given(blooms, topics | clashing)
@settings(max_examples=200, deadline=None)
def test_covers_is_the_subset_test(filter_bloom: bytes, topic: bytes) -> None:
    sample = int.from_bytes(bloom.topic_bloom(topic), "big")
    subset = sample & ~int.from_bytes(filter_bloom, "big") == 0
    assert bloom.covers(filter_bloom, topic) == subset


@given(st.lists(topics | clashing, max_size=20))
@settings(max_examples=100, deadline=None)
def test_bloom_of_asks_for_all_topics_in_both_forms(wanted: list[bytes]) -> None:
    asked = bloom.bloom_of(iter(wanted))
    assert asked == joined([with_bits(bits_of(topic)) for topic in wanted])
    assert all(bloom.covers(asked, topic) for topic in wanted)
    # A client of the Go form asks for a subset of the bits: covered as well.
    asked_by_go = joined([bloom.topic_bloom(topic) for topic in wanted])
    assert bloom.covered(asked_by_go, b"".join(wanted)) == b"".join(wanted)


@given(st.lists(topics | clashing, max_size=40), blooms)
@settings(max_examples=100, deadline=None)
def test_covered_filters_in_order(candidates: list[bytes], filter_bloom: bytes) -> None:
    dense = joined([filter_bloom, filter_bloom[::-1]])
    for sieve in (filter_bloom, dense):
        expected = [topic for topic in candidates if bloom.covers(sieve, topic)]
        assert bloom.covered(sieve, b"".join(candidates)) == b"".join(expected)


def test_edges_of_covered() -> None:
    many = b"".join(number.to_bytes(4, "big") for number in range(0, 2**32, 2**16 + 7))
    assert bloom.covered(FULL_BLOOM, many) == many
    assert bloom.covered(bytes(BLOOM_SIZE), many) == b""
    assert bloom.covered(FULL_BLOOM, b"") == b""


@pytest.mark.parametrize("size", [0, 3, 5, 64])
def test_a_topic_has_four_bytes(size: int) -> None:
    for call in (bloom.topic_bloom, lambda topic: bloom.bloom_of([topic])):
        with pytest.raises(ValueError, match="a topic has 4 bytes"):
            call(bytes(size))
    with pytest.raises(ValueError, match="a topic has 4 bytes"):
        bloom.covers(FULL_BLOOM, bytes(size))


@pytest.mark.parametrize("size", [0, 1, 63, 65])
def test_a_bloom_has_64_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="a bloom has 64 bytes"):
        bloom.covers(bytes(size), bytes(4))
    with pytest.raises(ValueError, match="a bloom has 64 bytes"):
        bloom.covered(bytes(size), bytes(4))


def test_packed_topics_are_whole() -> None:
    for size in (1, 3, 5, 4003):
        with pytest.raises(ValueError, match="no whole number"):
            bloom.covered(FULL_BLOOM, bytes(size))


@pytest.mark.parametrize("wrong", [None, "text", 1, bytearray(4)])
def test_only_bytes(wrong: Any) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: bloom.topic_bloom(wrong),
        lambda: bloom.bloom_of([wrong]),
        lambda: bloom.covers(FULL_BLOOM, wrong),
        lambda: bloom.covered(wrong, b""),
        lambda: bloom.covered(FULL_BLOOM, wrong),
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()
