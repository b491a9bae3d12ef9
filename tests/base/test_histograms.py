"""Histograms: the bucket of each value, and that status-go's bounds are among ours."""

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakumail.base.histograms import ANSWER_BYTES, ENVELOPE_BYTES, SECONDS, Histogram

GO_DEFAULT = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5000) | st.floats(0, 5000)))
def test_every_value_is_in_the_buckets_that_are_not_below_it(values: list[float]) -> None:
    histogram = Histogram((1, 10, 100, 1000))
    for value in values:
        histogram.add(value)
    expected = [sum(value <= bound for value in values) for bound in (*histogram.bounds, 1e9)]
    assert list(accumulate(histogram.counts)) == expected
    assert histogram.sum == pytest.approx(sum(values))


def test_many_values_at_once() -> None:
    histogram = Histogram((1, 10))
    histogram.add(5)
    histogram.add_counts([1, 0, 2], 50)
    assert histogram.counts == [1, 1, 2]
    assert histogram.sum == 55


def test_counts_of_other_buckets_are_refused() -> None:
    histogram = Histogram((1, 10))
    with pytest.raises(ValueError, match="2 counts for 3 buckets"):
        histogram.add_counts([1, 2], 3)
    assert (histogram.counts, histogram.sum) == ([0, 0, 0], 0)


def test_the_buckets_of_status_go_are_among_ours() -> None:
    assert set(SECONDS) > GO_DEFAULT
    assert set(ENVELOPE_BYTES) >= {256 * 4**power for power in range(10)}
    assert set(ENVELOPE_BYTES) >= {1024 * 2**power for power in range(11)}
    assert set(ANSWER_BYTES) == {1024 * 4**power for power in range(10)}


@pytest.mark.parametrize("bounds", [SECONDS, ENVELOPE_BYTES, ANSWER_BYTES])
def test_bounds_go_up(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))
