"""Envelopes, judged by a slow and independent implementation of the rules."""

import functools
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import rlp as oracle_rlp
from Crypto.Hash import keccak
from hypothesis import strategies as st

from tests.support.envelopes import rules_with
from wakumail.base import rlp
from wakumail.waku import bloom, envelope
from wakumail.waku.envelope import REFUSALS, Batch, Envelope, Rules, Verdict, judge
from wakumail.waku.interest import Interest

NOW = 1_700_000_000
TOPIC = bytes.fromhex("deadbeef")
FREE = rules_with(min_pow=0, min_pow_large=0)


def keccak256(data: bytes) -> bytes:
    return bytes(keccak.new(digest_bits=256, data=data).digest())


def is_wanted(topic: bytes, interest: Interest) -> bool:
    if interest.topics is not None:
        return topic in interest.topics
    return interest.bloom is None or bloom.covers(interest.bloom, topic)


@functools.lru_cache(1 << 16)
def encoded(fields: "Fields") -> bytes:
    """The RLP of an envelope by the oracle, which takes its time."""
    return bytes(oracle_rlp.encode([*fields]))


class Fields(NamedTuple):
    """An envelope of the oracle."""

    expiry: int
    ttl: int
    topic: bytes = TOPIC
    data: bytes = b""
    nonce: int = 0

    @property
    def rlp(self) -> bytes:
        return encoded(self)

    @property
    def created(self) -> int:
        return (self.expiry - self.ttl) % 2**32

    def pow(self, ttl: int) -> float:
        proven: bytes = oracle_rlp.encode([*self][:4])
        digest = int.from_bytes(keccak256(proven + self.nonce.to_bytes(8, "big")), "big")
        if ttl == 0:
            return math.inf
        return 2.0 ** (256 - digest.bit_length()) / len(proven) / ttl

    def pow_at(self, now: int) -> float:
        ahead = self.created - now
        return self.pow(self.ttl + ahead + 1 if ahead > 0 else self.ttl)

    def verdict(self, rules: Rules, now: int) -> Verdict:
        size = len(self.rlp)
        wanted = is_wanted(self.topic, rules.interest)
        least = rules.min_pow if size < envelope.LARGE_ENVELOPE else rules.min_pow_large
        faults = [
            (self.ttl == 0, Verdict.TTL_ZERO),
            (size > rules.max_envelope, Verdict.TOO_LARGE),
            (self.created > now + envelope.FUTURE_TOLERANCE, Verdict.FROM_FUTURE),
            (self.expiry + envelope.VERY_OLD_AGE < now, Verdict.VERY_OLD),
            (self.expiry + envelope.EXPIRY_GRACE < now, Verdict.EXPIRED),
            (not wanted, Verdict.UNWANTED_TOPIC),
            (self.ttl and self.pow_at(now) < least, Verdict.LOW_POW),
        ]
        return next((verdict for fault, verdict in faults if fault), Verdict.ACCEPTED)


def packet_of(envelopes: list[Fields]) -> bytes:
    return rlp.join_list(fields.rlp for fields in envelopes)


def verdict_of(fields: Fields, rules: Rules = FREE, now: int = NOW) -> Verdict:
    return judge(packet_of([fields]), rules, now).verdict(0)


def assert_is(made: Envelope, fields: Fields) -> None:
    assert (made.expiry, made.ttl, made.topic, made.data, made.nonce) == fields
    assert made.rlp == fields.rlp
    assert made.hash == keccak256(fields.rlp)
    assert made.created == fields.created
    assert made.pow == fields.pow(fields.ttl)


def errors_of(judged: Iterable[tuple[Fields, Verdict]]) -> bytes:
    """The errors of a Message Response, by the oracle."""
    refused = [(fields, *REFUSALS[verdict]) for fields, verdict in judged if verdict in REFUSALS]
    errors: list[Any] = [
        [keccak256(fields.rlp), code, text.encode()] for fields, code, text in refused
    ]
    return bytes(rlp.encode(errors))


def assert_judged(batch: Batch, envelopes: list[Fields], rules: Rules, now: int) -> None:
    verdicts = [fields.verdict(rules, now) for fields in envelopes]
    assert [batch.verdict(i) for i in range(len(batch))] == verdicts
    counts = Counter(verdicts)
    accepted = [f for f, verdict in zip(envelopes, verdicts, strict=True) if not verdict]
    assert batch.accepted == counts.pop(Verdict.ACCEPTED, 0) == len(accepted)
    assert batch.accepted_size == sum(len(fields.rlp) for fields in accepted)
    assert batch.rejections == counts
    assert (batch.packets, batch.malformed) == (1, 0)
    errors = errors_of(zip(envelopes, verdicts, strict=True))
    assert batch.confirmations == [(keccak256(batch.raw), errors)]
    for made, fields in zip(batch, envelopes, strict=True):
        assert_is(made, fields)


def of_size(size: int, **changes: Any) -> Fields:
    """An envelope whose RLP has `size` bytes."""
    fields = Fields(NOW + 50, 50, TOPIC, bytes(size - 100), 0)._replace(**changes)
    return fields._replace(data=bytes(len(fields.data) + size - len(fields.rlp)))


GOOD = Fields(NOW + 50, 50, TOPIC, b"data", 1)

near = st.integers(-25, 25).map(lambda offset: NOW + offset)
ttls = st.sampled_from([0, 1, 10, 50, 2**32 - 1]) | st.integers(0, 60)
u32 = st.integers(0, 2**32 - 1)
topics = st.sampled_from([TOPIC, bytes(4), b"\xff" * 4]) | st.binary(min_size=4, max_size=4)
# Creation and expiry near now, or at any time.
timely = st.builds(
    lambda created, ttl: ((created + ttl) % 2**32, ttl), near, ttls | st.integers(1, 30)
)
times = timely | st.tuples(near, ttls) | st.tuples(u32, u32)
envelopes_of = st.builds(
    lambda when, topic, data, nonce: Fields(when[0], when[1], topic, data, nonce),
    times,
    topics,
    st.binary(max_size=2) | st.binary(max_size=300),
    st.sampled_from([0, 127, 128, 2**64 - 1]) | st.integers(0, 2**64 - 1),
)
