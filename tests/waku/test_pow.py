"""Mining a proof of work."""

import math
import signal
from itertools import pairwise

import pytest
import rlp as oracle_rlp
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.envelope_oracle import NOW, TOPIC, Fields, verdict_of
from tests.support.envelopes import rules_with
from wakumail.waku.envelope import Verdict
from wakumail.waku.pow import mine


@pytest.mark.parametrize("size", [0, 1, 56, 130, 300, 2000])
@pytest.mark.parametrize("target", [0.0, 0.002, 0.2])
def test_mined_nonces_are_accepted(size: int, target: float) -> None:
    nonce = mine(NOW + 5, 5, TOPIC, bytes(size), target=target)
    assert nonce is not None
    fields = Fields(NOW + 5, 5, TOPIC, bytes(size), nonce)
    assert verdict_of(fields, rules_with(min_pow=target)) == Verdict.ACCEPTED
    assert fields.pow(5) >= target
    # It is the first one: no nonce below gives as much.
    assert mine(NOW + 5, 5, TOPIC, bytes(size), target=target, max_nonces=nonce) is None
    if nonce < 300:
        assert all(fields._replace(nonce=n).pow(5) < target for n in range(nonce))


@given(st.integers(1, 100), st.integers(0, 140), st.integers(0, 4), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_target_is_met_exactly(ttl: int, size: int, zeros: int, above: bool) -> None:
    fields = Fields(NOW, ttl, TOPIC, bytes(size))
    proven = len(oracle_rlp.encode([*fields][:4]))
    target = 2.0**zeros / proven / ttl
    if above:
        target = math.nextafter(target, math.inf)
    nonce = mine(NOW, ttl, TOPIC, bytes(size), target=target)
    first = next(n for n in range(10_000) if fields._replace(nonce=n).pow(ttl) >= target)
    assert nonce == first


def test_mining_goes_on_where_it_stopped() -> None:
    def search(**limits: int) -> int | None:
        return mine(NOW, 50, TOPIC, b"data", target=1.0, **limits)

    found: list[int] = []
    start = 0
    while len(found) < 3:
        nonce = search(start=start, max_nonces=1000)
        if nonce is None:
            start += 1000
        else:
            found.append(nonce)
            start = nonce + 1
    assert found[0] == search()
    for earlier, later in pairwise(found):
        assert search(start=earlier) == earlier
        assert search(start=earlier + 1) == later
        assert search(start=earlier + 1, max_nonces=later - earlier - 1) is None
        assert search(start=earlier + 1, max_nonces=later - earlier) == later
    assert search(max_nonces=0) is None
    assert search(max_nonces=-1) is None


def test_mining_ends_with_the_last_nonce() -> None:
    start = 2**64 - 100
    assert mine(NOW, 50, TOPIC, b"", target=1e9, start=start) is None
    assert mine(NOW, 50, TOPIC, b"", target=1e9, start=start, max_nonces=2**70) is None
    with pytest.raises(OverflowError):
        mine(NOW, 50, TOPIC, b"", target=1.0, start=2**64)


def test_mining_is_cancelled_by_a_signal() -> None:
    def stop(*_: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(InterruptedError):
            mine(NOW, 50, TOPIC, b"", target=1e60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_what_cannot_be_mined() -> None:
    for target in (math.inf, math.nan, 2.0**257):
        with pytest.raises(ValueError, match="no nonce"):
            mine(NOW, 50, TOPIC, b"", target=target)
    with pytest.raises(ValueError, match="ttl"):
        mine(NOW, 0, TOPIC, b"", target=1.0)
    with pytest.raises(ValueError, match="4 bytes"):
        mine(NOW, 50, b"abc", b"", target=1.0)
