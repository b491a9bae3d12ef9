"""Envelopes that were fetched from another archive, judged."""

from collections.abc import Sequence

import pytest

from tests.support.envelopes import make, rules_with
from wakumail.base.rlp import encode, join_list
from wakumail.errors import RlpError
from wakumail.waku.envelope import Envelope, Rules, Verdict, make_envelope
from wakumail.waku.fetched import AskedIds, judge_fetched
from wakumail.waku.interest import Interest

CREATED = 1_600_000_000
ANY = rules_with(min_pow=0.0, min_pow_large=0.0)
ENVELOPES = make(20, [b"topi", b"else"], created=CREATED, spread=1)


def packet(envelopes: Sequence[Envelope]) -> bytes:
    return join_list([envelope.rlp for envelope in envelopes])


def asked(envelopes: Sequence[Envelope]) -> AskedIds:
    return AskedIds(b"".join(envelope.hash for envelope in envelopes))


def test_the_order_of_ids() -> None:
    joined = b"".join(envelope.hash for envelope in ENVELOPES)
    assert AskedIds(joined).ids == b"".join(sorted(envelope.hash for envelope in ENVELOPES))
    assert joined[:32] == ENVELOPES[0].hash
    assert AskedIds(b"").ids == b""


def test_what_expired_long_ago_is_taken() -> None:
    batch, strangers = judge_fetched(packet(ENVELOPES), ANY, 0, CREATED, asked(ENVELOPES))
    assert (batch.accepted, strangers) == (20, 0)
    assert list(batch) == ENVELOPES


@pytest.mark.parametrize("sent", [[], [0], [1, 3], [3, 1], [5, 6, 18]])
def test_some_of_those_asked_for(sent: list[int]) -> None:
    some = [ENVELOPES[index] for index in sent]
    batch, strangers = judge_fetched(packet(some), ANY, 0, CREATED, asked(ENVELOPES))
    assert (batch.accepted, strangers) == (len(sent), 0)


@pytest.mark.parametrize("sent", [[[0, 0]], [[0, 1, 2, 1]], [[3], [3]], [[0], [1, 2, 0]]])
def test_one_that_comes_twice_is_a_stranger(sent: list[list[int]]) -> None:
    """In one packet, or in two that are sent for the same ids."""
    awaited = asked(ENVELOPES)
    strangers = 0
    for indexes in sent:
        some = [ENVELOPES[index] for index in indexes]
        strangers += judge_fetched(packet(some), ANY, 0, CREATED, awaited)[1]
    came = {index for indexes in sent for index in indexes}
    assert (strangers, awaited.left) == (1, len(ENVELOPES) - len(came))


@pytest.mark.parametrize("sent", [[20], [0, 20], [20, 0, 21]])
def test_strangers_are_counted(sent: list[int]) -> None:
    foreign = make(2, [b"topi"], seed=2, created=CREATED)
    some = [[*ENVELOPES, *foreign][index] for index in sent]
    _, strangers = judge_fetched(packet(some), ANY, 0, CREATED, asked(ENVELOPES))
    assert strangers == len([index for index in sent if index >= 20])
    assert judge_fetched(packet(some), ANY, 0, CREATED, asked([]))[1] == len(sent)


def test_one_that_would_be_refused_has_to_be_asked_for_too() -> None:
    foreign = make(1, [b"topi"], seed=2, created=CREATED)
    tiny = rules_with(max_envelope=1)
    assert judge_fetched(packet(foreign), tiny, 0, CREATED, asked(ENVELOPES))[1] == 1


@pytest.mark.parametrize(
    ("rules", "lower", "upper", "verdict"),
    [
        (ANY, CREATED, CREATED, Verdict.ACCEPTED),
        (ANY, CREATED + 1, CREATED + 1, Verdict.VERY_OLD),
        (ANY, 0, CREATED - 1, Verdict.FROM_FUTURE),
        (rules_with(max_envelope=10), 0, CREATED, Verdict.TOO_LARGE),
        (rules_with(min_pow=1e9), 0, CREATED, Verdict.LOW_POW),
        (ANY.replace(interest=Interest(topics=[b"none"])), 0, CREATED, Verdict.UNWANTED_TOPIC),
    ],
)
def test_the_verdicts(rules: Rules, lower: int, upper: int, verdict: Verdict) -> None:
    batch, strangers = judge_fetched(packet(ENVELOPES[:1]), rules, lower, upper, asked(ENVELOPES))
    assert (batch.verdict(0), strangers) == (verdict, 0)
    assert batch.accepted == (verdict is Verdict.ACCEPTED)
    assert batch[0].hash == ENVELOPES[0].hash


def test_a_ttl_of_zero() -> None:
    timeless = make_envelope(CREATED, 0, b"topi", b"", 0)
    batch, strangers = judge_fetched(packet([timeless]), ANY, 0, CREATED, asked([timeless]))
    assert (batch.verdict(0), strangers) == (Verdict.TTL_ZERO, 0)


def test_the_last_second_of_all() -> None:
    last = make_envelope(0xFFFFFFFF, 0, b"topi", b"", 0)
    wrapped = make_envelope(0, 1, b"topi", b"", 0)  # created 2^32 - 1
    both = [last, wrapped]
    batch, strangers = judge_fetched(packet(both), ANY, 0, 0xFFFFFFFF, asked(both))
    assert ([batch.verdict(0), batch.verdict(1)], strangers) == (
        [Verdict.TTL_ZERO, Verdict.ACCEPTED],
        0,
    )
    batch, _ = judge_fetched(packet([wrapped]), ANY, 0, CREATED, asked([wrapped]))
    assert batch.verdict(0) is Verdict.FROM_FUTURE


@pytest.mark.parametrize(
    "malformed",
    [
        b"",
        b"\x80",
        b"\xc1",
        encode([b"x"]),
        encode([[1, 2, b"topi", b""]]),
        packet(ENVELOPES) + b"\0",
    ],
)
def test_anything_but_a_list_of_envelopes(malformed: bytes) -> None:
    with pytest.raises(RlpError):
        judge_fetched(malformed, ANY, 0, CREATED, asked(ENVELOPES))
