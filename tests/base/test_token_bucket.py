"""Token buckets and the limiter of many keys, against the rule that defines them."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakumail.base import token_bucket as limits
from wakumail.base.token_bucket import MAX_BUCKETS, RateLimiter, TokenBucket


def test_bucket_begins_full_and_refills() -> None:
    bucket = TokenBucket(rate=2.0, burst=3.0, now=100.0)
    assert [bucket.take(1, 100.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(1, 100.4)
    assert bucket.take(1, 100.5)
    assert not bucket.take(1, 100.5)


def test_bucket_never_holds_more_than_its_burst() -> None:
    bucket = TokenBucket(rate=2.0, burst=3.0, now=0.0)
    assert bucket.holds(3, 1e9)
    assert not bucket.holds(3.1, 1e9)


def test_bucket_refuses_whole_amounts() -> None:
    bucket = TokenBucket(rate=1.0, burst=3.0, now=0.0)
    assert not bucket.take(4, 0.0)
    assert bucket.take(3, 0.0)


def test_bucket_survives_a_clock_that_steps_back() -> None:
    bucket = TokenBucket(rate=1.0, burst=2.0, now=1000.0)
    assert bucket.take(2, 1000.0)
    assert not bucket.take(1, 10.0)
    assert bucket.take(1, 11.0)


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0), (1, -1)])
def test_bucket_needs_positive_numbers(rate: float, burst: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        TokenBucket(rate, burst, 0.0)


@settings(max_examples=100, deadline=None)
@given(
    rate=st.integers(1, 8),
    burst=st.integers(1, 16),
    steps=st.lists(st.tuples(st.integers(0, 32), st.integers(1, 4)), max_size=40),
)
def test_bucket_model(rate: int, burst: int, steps: list[tuple[int, int]]) -> None:
    """Times in eighths of a second, so that every number is exact."""
    bucket = TokenBucket(rate, burst, 0.0)
    now, eighths = 0, 8 * burst
    for wait, amount in steps:
        now += wait
        eighths = min(8 * burst, eighths + wait * rate)
        fits = eighths >= 8 * amount
        eighths -= 8 * amount * fits
        assert bucket.take(amount, now / 8) == fits


def test_limiter_keeps_keys_apart() -> None:
    limiter = RateLimiter(1.0, burst=2.0)
    assert [limiter.take(["a"], 0.0) for _ in range(3)] == [True, True, False]
    assert limiter.take(["b"], 0.0)
    assert limiter.take(["a"], 1.0)


def test_limiter_takes_from_all_keys_or_from_none() -> None:
    limiter = RateLimiter(1.0)
    assert limiter.take([b"peer 1", "10.0.0.1"], 0.0)
    assert not limiter.take([b"peer 2", "10.0.0.1"], 0.0)
    assert limiter.take([b"peer 2", "10.0.0.2"], 0.0)


def test_limiter_takes_amounts() -> None:
    limiter = RateLimiter(100.0)
    assert limiter.take(["a"], 0.0, 60)
    assert not limiter.take(["a"], 0.0, 60)
    assert limiter.take(["a"], 0.0, 40)


@pytest.mark.parametrize(("rate", "burst"), [(0.25, 1), (1.0, 1), (5.0, 5)])
def test_limiter_burst_without_being_given(rate: float, burst: int) -> None:
    limiter = RateLimiter(rate)
    assert [limiter.take(["a"], 0.0) for _ in range(burst + 1)] == [True] * burst + [False]


def test_limiter_without_a_rate_sets_no_limit() -> None:
    limiter = RateLimiter(0.0)
    assert all(limiter.take(["a"], 0.0, 1000) for _ in range(1000))


def test_limiter_forgets_the_key_idle_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BUCKETS", 2)
    limiter = RateLimiter(1.0)
    keys: list[Any] = ["a", "b", "a", "c"]
    assert [limiter.take([key], 0.0) for key in keys] == [True, True, False, True]
    assert not limiter.take(["a"], 0.0)
    assert limiter.take(["b"], 0.0)


def test_limiter_is_bounded() -> None:
    limiter = RateLimiter(1.0)
    keys = range(MAX_BUCKETS + 10)
    assert all(limiter.take([key], 0.0) for key in keys)
    assert not limiter.take([keys[10]], 0.0), "one of the last MAX_BUCKETS"
    assert all(limiter.take([key], 0.0) for key in keys[:10])
