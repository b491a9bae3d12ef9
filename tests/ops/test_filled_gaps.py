"""The gaps of an archive that the log of its cluster has filled."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakumail.archive.gaps import RELAY_TIME, Gaps
from wakumail.ops.cluster.filled_gaps import SETTLING, fill_gaps, told_gaps

START, END = 1000, 1400
NOW = END + SETTLING


def gaps_with(*ranges: tuple[int, int]) -> Gaps:
    gaps = Gaps(Path("none"), newest=None, shown=0, now=START)
    for lower, upper in ranges:
        gaps.add(lower + RELAY_TIME, upper, "the server did not run")
    return gaps


def lacked(gaps: Gaps) -> set[int]:
    return {second for gap in gaps.known for second in range(gap.lower, gap.upper + 1)}


RANGES = st.lists(
    st.tuples(st.integers(START, END), st.integers(0, 100)).map(lambda each: (each[0], sum(each))),
    max_size=4,
)


@given(RANGES, st.lists(RANGES, max_size=3))
def test_what_one_host_has_is_filled(own: list[tuple[int, int]], of: list[Any]) -> None:
    gaps, others = gaps_with(*own), [gaps_with(*ranges) for ranges in of]
    left = lacked(gaps)
    for other in others:
        left &= lacked(other) | set(range(START)) | set(range(END + 1, END + 1000))
    answers = [{"place": 7, "problem": ""} | told_gaps(each) for each in [gaps, *others]]
    fill_gaps(gaps, answers, 7, NOW)
    assert lacked(gaps) == left


@pytest.mark.parametrize(
    "answer",
    [
        {"place": 8},
        {"place": None},
        {"problem": "3 messages of the log not read yet"},
        {"since": None},
        {"since": "x"},
        {"since": float("inf")},
        {"lacking": None},
        {"lacking": [[1]]},
        {"lacking": [["a", "b"]]},
        {"since": NOW},
        {"lacking": [[START, END]]},
    ],
)
def test_a_host_that_does_not_have_all_fills_nothing(answer: dict[str, Any]) -> None:
    gaps = gaps_with((1100, 1200))
    before = gaps.known
    good = {"place": 7, "problem": "", "since": START, "lacking": []}
    fill_gaps(gaps, [{}, {"place": 7}, good | answer], 7, NOW)
    assert gaps.known == before
    fill_gaps(gaps, [good], 7, NOW)
    assert not gaps.known


def test_what_is_not_known_is_not_told() -> None:
    assert told_gaps(None) == {}
