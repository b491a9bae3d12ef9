"""Rate limits of topics, beside those of any keys in Python, and their cost."""

import random
import sys
from collections import Counter
from collections.abc import Iterable
from types import FrameType
from typing import Any

import pytest

from tests.support.archive_model import batch_of
from tests.support.hostile import tiny
from wakumail.base.token_bucket import MAX_BUCKETS, RateLimiter
from wakumail.waku.envelope import Envelope, make_envelope, parse
from wakumail.waku.topic_limiter import MAX_TOPICS, TopicLimiter

ALICE, BOB, CAROL = b"a" * 64, b"b" * 64, b"c" * 64
LEAST_BURST = 64.0


class Oracle:
    """Two limiters whose keys are peers with topics."""

    def __init__(self, envelope_rate: float, size_rate: float, least_burst: float) -> None:
        self._envelopes = RateLimiter(envelope_rate)
        self._sizes = RateLimiter(size_rate, max(size_rate, least_burst))

    def take(self, node_id: bytes, envelopes: Iterable[Envelope], now: float) -> tuple[bool, bool]:
        counts: Counter[bytes] = Counter()
        sizes: Counter[bytes] = Counter()
        for each in envelopes:
            counts[each.topic] += 1
            sizes[each.topic] += len(each.rlp)
        keys = [(topic, [(node_id, topic)]) for topic in counts]
        # All are taken, also after the first that has too few.
        taken = [self._envelopes.take(key, now, counts[topic]) for topic, key in keys]
        taken_sizes = [self._sizes.take(key, now, sizes[topic]) for topic, key in keys]
        return all(taken), all(taken_sizes)


def made(topic: int, nonce: int = 0) -> Envelope:
    return make_envelope(2**31, 50, topic.to_bytes(4), b"", nonce)


@pytest.mark.parametrize("rates", [(2.0, 0.0), (0.0, 48.0), (0.5, 40.0), (2.0, 48.0), (0.0, 0.0)])
@pytest.mark.parametrize("seed", range(3))
def test_topics_are_limited_as_any_keys_are(rates: tuple[float, float], seed: int) -> None:
    chance = random.Random(seed)
    limiter, oracle = TopicLimiter(*rates, LEAST_BURST), Oracle(*rates, LEAST_BURST)
    now = 0.0
    found = set()
    for _ in range(1000):
        now += chance.choice((0, 0, 1 / 8, 1 / 2, 4, -1 / 4))
        node_id = chance.choice((ALICE, BOB, CAROL))
        envelopes = [made(chance.randrange(6)) for _ in range(chance.randrange(8))]
        taken = limiter.take(node_id, batch_of(envelopes), now)
        assert taken == oracle.take(node_id, envelopes, now)
        found.add(taken)
    for flag, rate in enumerate(rates):
        assert {taken[flag] for taken in found} == ({True, False} if rate else {True})


def test_the_topics_idle_longest_are_forgotten() -> None:
    assert MAX_TOPICS == MAX_BUCKETS
    chance = random.Random(1)
    limiter, oracle = TopicLimiter(1.0, 0.0, 1.0), Oracle(1.0, 0.0, 1.0)
    every = [made(topic) for topic in range(MAX_TOPICS // 2 + 2000)]
    found: Counter[bool] = Counter()
    for node_id in (ALICE, BOB, ALICE, CAROL, BOB):
        chosen = chance.sample(every, len(every) - chance.randrange(4000))
        limiter.take(node_id, batch_of(chosen), 0.0)
        oracle.take(node_id, chosen, 0.0)
        for each in chance.sample(every, 300):
            taken = limiter.take(node_id, batch_of([each]), 0.0)
            assert taken == oracle.take(node_id, [each], 0.0)
            found[taken[0]] += 1
    assert min(found[True], found[False]) > 50


def test_a_packet_may_have_more_topics_than_are_remembered() -> None:
    limiter = TopicLimiter(1.0, 0.0, 1.0)
    many = parse(tiny(4 * MAX_TOPICS))
    assert limiter.take(ALICE, many, 0.0) == (True, True)
    assert limiter.take(ALICE, many, 0.0) == (True, True), "all were forgotten in turn"
    assert limiter.take(ALICE, parse(tiny(4 * MAX_TOPICS, topic=b"same")), 0.0) == (False, True)
    assert limiter.take(ALICE, parse(tiny(1, start=4 * MAX_TOPICS - 1)), 0.0) == (False, True)


def test_topics_cost_no_calls_each() -> None:
    """A packet of 65,000 topics took 0.3 s."""
    limiter = TopicLimiter(100.0, 1e6, 1e6)
    batch = parse(tiny(65_000))
    calls = 0

    def count(_frame: FrameType, _event: str, _argument: Any) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    limiter.take(ALICE, batch, 0.0)
    sys.setprofile(None)
    assert calls < 10
