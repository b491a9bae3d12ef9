"""Envelopes against the vectors, against a slow implementation of the rules, and at every bound."""

import math
import struct
from typing import Any

import pytest
import rlp as oracle_rlp
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.envelope_oracle import (
    FREE,
    NOW,
    TOPIC,
    Fields,
    assert_is,
    assert_judged,
    envelopes_of,
    keccak256,
    of_size,
    packet_of,
    topics,
    verdict_of,
)
from tests.support.envelopes import rules_with
from tests.vectors import VECTORS
from wakumail.waku import bloom, envelope
from wakumail.waku.envelope import Envelope, Rules, Verdict, judge, parse, parse_stream
from wakumail.waku.interest import EVERYTHING, Interest
from wakumail.waku.packets import MIN_ENVELOPE

NOTHING = Interest(topics=[])


def vector_fields(case: dict[str, Any]) -> Fields:
    if "data" in case:
        data = bytes.fromhex(case["data"])
    else:
        rule = case["data_rule"]
        blocks = range(-(-rule["len"] // 32))
        stream = (keccak256(rule["seed"].encode() + i.to_bytes(4, "big")) for i in blocks)
        data = b"".join(stream)[: rule["len"]]
        assert keccak256(data).hex() == case["data_keccak256"]
    topic = bytes.fromhex(case["topic"])
    return Fields(case["expiry"], case["ttl"], topic, data, int(case["nonce"]))


VECTOR_CASES = VECTORS["envelopes"]["cases"]


@pytest.mark.parametrize("case", VECTOR_CASES, ids=lambda case: case["name"])
def test_vectors(case: dict[str, Any]) -> None:
    fields = vector_fields(case)
    made = envelope.make_envelope(*fields)
    if "rlp" in case:
        assert made.rlp.hex() == case["rlp"]
    else:
        assert made.rlp.hex().startswith(case["rlp_head"])
        assert made.rlp.hex().endswith(case["rlp_tail"])
    assert len(made.rlp) == case["rlp_len"]
    assert made.hash.hex() == case["hash"]
    assert struct.pack(">d", made.pow).hex() == case["pow"]["bits"]
    assert_is(made, fields)
    assert_is(Envelope.decode(made.rlp), fields)


def test_vectors_as_one_packet() -> None:
    envelopes = [vector_fields(case) for case in VECTOR_CASES]
    batch = parse(packet_of(envelopes))
    assert [made.hash.hex() for made in batch] == [case["hash"] for case in VECTOR_CASES]
    assert batch.accepted == len(batch) == len(VECTOR_CASES)
    assert batch.rejections == {}
    assert batch.confirmations == []
    for rules in (FREE, rules_with(), rules_with(min_pow=0.5, min_pow_large=1e-8)):
        for now in (NOW, NOW + 50, 2**32 - 1):
            batch = judge(packet_of(envelopes), rules, now, confirming=True)
            assert_judged(batch, envelopes, rules, now)


@pytest.mark.parametrize("name", ["messages_packet", "p2p_messages_packet"])
def test_packet_vectors(name: str) -> None:
    packet = bytes.fromhex(VECTORS[name]["rlp"])
    items = oracle_rlp.decode(packet)
    batch = parse(packet)
    assert batch.raw == packet
    assert [made.rlp for made in batch] == [oracle_rlp.encode(item) for item in items]


def test_parsed_envelopes_may_be_measured() -> None:
    packet = packet_of([vector_fields(case) for case in VECTOR_CASES])
    sizes = [len(made.rlp) for made in parse(packet)]
    limit = sorted(sizes)[len(sizes) // 2]
    batch = parse(packet, max_envelope=limit)
    small = [size for size in sizes if size <= limit]
    verdicts = [Verdict.ACCEPTED if size <= limit else Verdict.TOO_LARGE for size in sizes]
    assert [batch.verdict(index) for index in range(len(batch))] == verdicts
    assert 0 < batch.accepted == len(small) < len(batch)
    assert batch.accepted_size == sum(small)
    assert [made.hash.hex() for made in batch] == [case["hash"] for case in VECTOR_CASES]


@pytest.mark.parametrize("case", VECTORS["pow_time_adjusted"]["cases"], ids=lambda c: c["diff"])
def test_pow_of_the_future_is_adjusted(case: dict[str, Any]) -> None:
    made = Envelope.decode(bytes.fromhex(VECTORS["pow_time_adjusted"]["envelope_rlp"]))
    fields = Fields(made.expiry, made.ttl, made.topic, made.data, made.nonce)
    (expected,) = struct.unpack(">d", bytes.fromhex(case["pow"]["bits"]))
    assert fields.pow(fields.ttl + case["diff"]) == expected
    if case["diff"] == 1:  # an envelope of this second would not be adjusted
        return
    now = made.created - max(0, case["diff"] - 1)
    assert verdict_of(fields, rules_with(min_pow=expected), now) == Verdict.ACCEPTED
    above = rules_with(min_pow=math.nextafter(expected, math.inf))
    assert verdict_of(fields, above, now) == Verdict.LOW_POW


wanted_topics = st.none() | st.frozensets(topics, max_size=5)
wanted_bloom = st.none() | st.just(bloom.FULL_BLOOM) | st.just(bloom.bloom_of([TOPIC]))


@given(st.lists(envelopes_of, max_size=12), wanted_topics, wanted_bloom, st.data())
@settings(max_examples=150, deadline=None)
def test_judge_agrees_with_the_oracle(
    envelopes: list[Fields],
    wanted: frozenset[bytes] | None,
    filter_bloom: bytes | None,
    data: st.DataObject,
) -> None:
    # The minimum is the PoW of one of them, or the next double above it.
    exact = [0.0] + [fields.pow_at(NOW) for fields in envelopes if fields.ttl]
    least = data.draw(st.sampled_from(exact))
    if data.draw(st.booleans()):
        least = math.nextafter(least, math.inf)
    size = data.draw(st.sampled_from([1 << 20, 100, *(len(f.rlp) for f in envelopes)]))
    interest = Interest(topics=wanted, bloom=filter_bloom)
    rules = rules_with(min_pow=least, max_envelope=size, interest=interest)
    batch = judge(packet_of(envelopes), rules, NOW, confirming=True)
    assert_judged(batch, envelopes, rules, NOW)


@pytest.mark.parametrize(("max_envelope", "accepted"), [(MIN_ENVELOPE, 1), (MIN_ENVELOPE - 1, 0)])
def test_the_smallest_envelope(max_envelope: int, accepted: int) -> None:
    rules = rules_with(min_pow=0, max_envelope=max_envelope)
    assert judge(packet_of([Fields(NOW + 1, 1)]), rules, NOW).accepted == accepted


@given(st.lists(envelopes_of, max_size=8))
@settings(max_examples=60, deadline=None)
def test_parse_takes_everything(envelopes: list[Fields]) -> None:
    packet = packet_of(envelopes)
    stream = b"".join(fields.rlp for fields in envelopes)
    streamed, used = parse_stream(stream, final=True)
    assert used == len(stream)
    for batch in (parse(packet), streamed):
        assert batch.accepted == len(batch) == len(envelopes)
        assert batch.accepted_size == len(stream)
        for made, fields in zip(batch, envelopes, strict=True):
            assert_is(made, fields)


@pytest.mark.parametrize("count", [*range(10), 63, 64, 65, 127, 128, 129, 193, 1000])
def test_batches_of_every_size(count: int) -> None:
    sizes = [0, 1, 55, 56, 120, 136, 137, 271, 272, 515, 2000]
    kinds = [NOW + 50, NOW + 50, NOW - 30, NOW + 100, NOW + 50]
    envelopes = [
        Fields(kinds[i % 5], 50, bytes([0, 0, 0, i % 3]), bytes(sizes[i % 11]), i)
        for i in range(count)
    ]
    rules = rules_with(min_pow=0.0005, interest=Interest(topics=[bytes(4), b"\0\0\0\1"]))
    batch = judge(packet_of(envelopes), rules, NOW, confirming=True)
    assert_judged(batch, envelopes, rules, NOW)
    if count >= 63:
        assert set(batch.rejections) == set(Verdict) - {
            Verdict.ACCEPTED,
            Verdict.EXPIRED,
            Verdict.TOO_LARGE,
            Verdict.TTL_ZERO,
            Verdict.DUPLICATE,
        }


@pytest.mark.parametrize(
    ("expiry", "ttl", "now", "verdict"),
    [
        (NOW + 60, 60, NOW, Verdict.ACCEPTED),
        (NOW + 70, 60, NOW, Verdict.ACCEPTED),
        (NOW + 71, 60, NOW, Verdict.FROM_FUTURE),
        (NOW, 60, NOW, Verdict.ACCEPTED),
        (NOW - 10, 60, NOW, Verdict.ACCEPTED),
        (NOW - 11, 60, NOW, Verdict.EXPIRED),
        (NOW - 20, 60, NOW, Verdict.EXPIRED),
        (NOW - 21, 60, NOW, Verdict.VERY_OLD),
        # The ends of the 32-bit times.
        (2**32 - 1, 60, 2**32 - 1, Verdict.ACCEPTED),
        (2**32 - 1, 60, 2**32 + 9, Verdict.ACCEPTED),
        (2**32 - 1, 60, 2**32 + 10, Verdict.EXPIRED),
        (2**32 - 1, 60, 2**32 + 19, Verdict.EXPIRED),
        (2**32 - 1, 60, 2**32 + 20, Verdict.VERY_OLD),
        (2**32 - 1, 1, 2**32 - 12, Verdict.ACCEPTED),
        (2**32 - 1, 1, 2**32 - 13, Verdict.FROM_FUTURE),
        (60, 60, 0, Verdict.ACCEPTED),
        (NOW, 60, 2**64 - 1, Verdict.VERY_OLD),
        # A ttl beyond the expiry: the creation time wraps around.
        (5, 10, 3, Verdict.FROM_FUTURE),
        (5, 10, 2**32 - 16, Verdict.FROM_FUTURE),
        (5, 10, 2**32 - 15, Verdict.VERY_OLD),
        (NOW + 9, 2**32 - 1, NOW, Verdict.ACCEPTED),
        (NOW + 10, 2**32 - 1, NOW, Verdict.FROM_FUTURE),
    ],
)
def test_time_edges(expiry: int, ttl: int, now: int, verdict: Verdict) -> None:
    fields = Fields(expiry, ttl)
    assert fields.verdict(FREE, now) == verdict
    assert verdict_of(fields, now=now) == verdict


def test_adjusted_ttl_does_not_wrap() -> None:
    fields = Fields(NOW + 9, 2**32 - 1)
    exact = fields.pow(2**32 + 10)
    assert verdict_of(fields, rules_with(min_pow=exact)) == Verdict.ACCEPTED
    above = rules_with(min_pow=math.nextafter(exact, 1))
    assert verdict_of(fields, above) == Verdict.LOW_POW


@pytest.mark.parametrize("now", [-1, 2**64])
def test_now_is_an_unsigned_integer(now: int) -> None:
    with pytest.raises(OverflowError):
        judge(b"\xc0", FREE, now)


def test_large_envelopes_need_less_work() -> None:
    small, large = of_size(envelope.LARGE_ENVELOPE - 1), of_size(envelope.LARGE_ENVELOPE)
    assert (len(small.rlp), len(large.rlp)) == (49_999, 50_000)
    exact = rules_with(min_pow=small.pow(50), min_pow_large=large.pow(50))
    assert verdict_of(small, exact) == verdict_of(large, exact) == Verdict.ACCEPTED
    strict = rules_with(min_pow=1, min_pow_large=0)
    strict_large = rules_with(min_pow=0, min_pow_large=1)
    assert verdict_of(small, strict) == verdict_of(large, strict_large) == Verdict.LOW_POW
    assert verdict_of(large, strict) == verdict_of(small, strict_large) == Verdict.ACCEPTED


def test_the_largest_envelope() -> None:
    limit = rules_with().max_envelope
    assert limit == 1 << 20
    fits, over = of_size(limit), of_size(limit + 1)
    batch = judge(packet_of([fits, over, Fields(NOW + 5, 5)]), FREE, NOW)
    assert [batch.verdict(i) for i in range(3)] == [0, Verdict.TOO_LARGE, 0]
    assert [made.hash for made in batch] == [
        keccak256(fields.rlp) for fields in (fits, over, Fields(NOW + 5, 5))
    ]
    assert batch.accepted_size == limit + len(Fields(NOW + 5, 5).rlp)


def test_the_first_fault_counts() -> None:
    faults = [
        (
            rules_with(max_envelope=9, interest=NOTHING, min_pow=99),
            Fields(NOW - 99, 0),
            Verdict.TTL_ZERO,
        ),
        (
            rules_with(max_envelope=9, interest=NOTHING, min_pow=99),
            Fields(9, 99),
            Verdict.TOO_LARGE,
        ),
        (rules_with(interest=NOTHING, min_pow=99), Fields(9, 99), Verdict.FROM_FUTURE),
        (rules_with(interest=NOTHING, min_pow=99), Fields(NOW - 21, 9), Verdict.VERY_OLD),
        (rules_with(interest=NOTHING, min_pow=99), Fields(NOW - 20, 9), Verdict.EXPIRED),
        (rules_with(interest=NOTHING, min_pow=99), Fields(NOW, 9), Verdict.UNWANTED_TOPIC),
        (rules_with(min_pow=99), Fields(NOW, 9), Verdict.LOW_POW),
    ]
    for rules, fields, verdict in faults:
        assert verdict_of(fields, rules) == verdict
    judged_alone = set(Verdict) - {Verdict.ACCEPTED, Verdict.DUPLICATE}
    assert {verdict for _, _, verdict in faults} == judged_alone


def test_rules_are_checked_and_frozen() -> None:
    rules = Rules(min_pow=0.5, min_pow_large=0.25, max_envelope=9, interest=NOTHING)
    assert (rules.min_pow, rules.min_pow_large, rules.max_envelope) == (0.5, 0.25, 9)
    assert rules.interest == NOTHING
    assert rules_with().interest is EVERYTHING
    for missing in ("min_pow", "min_pow_large", "max_envelope"):
        chosen: dict[str, Any] = {"min_pow": 1, "min_pow_large": 1, "max_envelope": 1}
        del chosen[missing]
        with pytest.raises(TypeError, match=missing):
            Rules(**chosen)
    with pytest.raises(AttributeError):
        rules.min_pow = 1.0  # type: ignore[misc]
    for wrong in (-0.1, math.inf, math.nan):
        with pytest.raises(ValueError, match="minimum PoW"):
            rules_with(min_pow=wrong)
        with pytest.raises(ValueError, match="minimum PoW"):
            rules_with(min_pow_large=wrong)
    with pytest.raises(TypeError):
        rules_with(interest=None)
    with pytest.raises(OverflowError):
        rules_with(max_envelope=-1)


def test_rules_but_for_some() -> None:
    rules = rules_with(min_pow=1, min_pow_large=2, max_envelope=3, interest=NOTHING)
    changes: dict[str, Any] = {
        "min_pow": 4,
        "min_pow_large": 5,
        "max_envelope": 6,
        "interest": EVERYTHING,
    }
    for name, value in changes.items():
        changed = rules.replace(**{name: value})
        for each in changes:
            assert getattr(changed, each) == (value if each == name else getattr(rules, each))
    with pytest.raises(ValueError, match="finite"):
        rules.replace(min_pow=-1)
    with pytest.raises(TypeError):
        rules.replace(min_pew=1)  # type: ignore[call-arg]
