"""Interests: what they want, what their union wants, and when they are the same."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.envelope_oracle import is_wanted
from wakumail.waku.bloom import BLOOM_SIZE, FULL_BLOOM, bloom_of, topic_bloom
from wakumail.waku.interest import EVERYTHING, Interest

TOPIC, OTHER = bytes.fromhex("deadbeef"), bytes(4)
NOTHING = Interest(topics=[])

topics = st.sampled_from([TOPIC, OTHER, b"\xff" * 4]) | st.binary(min_size=4, max_size=4)
topic_lists = st.lists(topics, max_size=6)
interests = (
    st.just(EVERYTHING)
    | topic_lists.map(lambda some: Interest(topics=some))
    | topic_lists.map(lambda some: Interest(bloom=bloom_of(some)))
    | st.binary(min_size=64, max_size=64).map(lambda bloom: Interest(bloom=bloom))
)


def test_everything_and_nothing() -> None:
    assert EVERYTHING.wants(TOPIC)
    assert (EVERYTHING.topics, EVERYTHING.bloom) == (None, None)
    assert not NOTHING.wants(TOPIC)
    assert (NOTHING.topics, NOTHING.bloom) == ((), None)
    assert Interest(bloom=FULL_BLOOM).wants(TOPIC)
    assert not Interest(bloom=bytes(BLOOM_SIZE)).wants(TOPIC)


@given(st.lists(topics, max_size=200), topic_lists)
@settings(max_examples=60, deadline=None)
def test_topics_are_found(wanted: list[bytes], others: list[bytes]) -> None:
    interest = Interest(topics=wanted)
    assert interest.topics == tuple(sorted(set(wanted)))
    for topic in [*wanted, *others]:
        assert interest.wants(topic) == (topic in wanted)


@given(interests, topics)
@settings(max_examples=100, deadline=None)
def test_wanted_as_the_oracle_says(interest: Interest, topic: bytes) -> None:
    assert interest.wants(topic) == is_wanted(topic, interest)


def test_topics_win_over_the_bloom() -> None:
    assert Interest(topics=[TOPIC], bloom=bytes(BLOOM_SIZE)).wants(TOPIC)
    assert not Interest(topics=[], bloom=FULL_BLOOM).wants(TOPIC)
    assert Interest(topics=[TOPIC], bloom=FULL_BLOOM) == Interest(topics=[TOPIC])
    assert Interest(topics=[TOPIC], bloom=FULL_BLOOM).bloom is None


@given(interests, interests, st.lists(topics, max_size=20))
@settings(max_examples=150, deadline=None)
def test_a_union_wants_what_either_wants(one: Interest, two: Interest, sample: list[bytes]) -> None:
    union = one.union(two)
    sample += [*(one.topics or ()), *(two.topics or ())]
    for topic in sample:
        wanted = one.wants(topic) or two.wants(topic)
        assert union.wants(topic) >= wanted
        if one.topics is not None and two.topics is not None:
            assert union.wants(topic) == wanted
    assert two.union(one) == union
    assert one.union(one) == one


def test_unions() -> None:
    some, bloom = Interest(topics=[TOPIC]), Interest(bloom=topic_bloom(OTHER))
    assert some.union(Interest(topics=[OTHER])) == Interest(topics=[OTHER, TOPIC])
    assert some.union(bloom) == Interest(bloom=bloom_of([TOPIC, OTHER]))
    assert NOTHING.union(bloom) == bloom
    for each in (some, bloom, NOTHING, EVERYTHING):
        assert each.union(EVERYTHING) is EVERYTHING
        assert EVERYTHING.union(each) is EVERYTHING


def test_interests_are_values() -> None:
    same = Interest(topics=[OTHER, TOPIC]), Interest(topics={TOPIC, OTHER})
    assert same[0] == same[1]
    assert hash(same[0]) == hash(same[1])
    different = [EVERYTHING, NOTHING, same[0], Interest(topics=[TOPIC])]
    different += [Interest(bloom=topic_bloom(topic)) for topic in (TOPIC, OTHER)]
    assert len(set(different)) == len({repr(each) for each in different}) == len(different)
    assert EVERYTHING != "everything"
    with pytest.raises(AttributeError):
        EVERYTHING.bloom = FULL_BLOOM  # type: ignore[misc]


def test_what_is_no_interest() -> None:
    for topic in (b"", b"abc", b"abcde"):
        with pytest.raises(ValueError, match="4 bytes"):
            Interest(topics=[TOPIC, topic])
        with pytest.raises(ValueError, match="4 bytes"):
            EVERYTHING.wants(topic)
    for wrong in (["text"], b"text", [(1, 2, 3, 4)], 4):
        with pytest.raises(TypeError):
            Interest(topics=wrong)  # type: ignore[arg-type]
    for size in (0, 63, 65):
        with pytest.raises(ValueError, match="64 bytes"):
            Interest(bloom=bytes(size))
        with pytest.raises(ValueError, match="64 bytes"):
            Interest(topics=[TOPIC], bloom=bytes(size))
    with pytest.raises(TypeError):
        EVERYTHING.union(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [7, 8, 9, 1000, 10_000])
def test_many_topics_are_found(count: int) -> None:
    wanted = [(3 * number).to_bytes(4) for number in range(count)]
    interest = Interest(topics=wanted)
    found = [number for number in range(3 * count + 9) if interest.wants(number.to_bytes(4))]
    assert found == list(range(0, 3 * count, 3))
