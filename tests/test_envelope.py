"""Envelopes against the vectors, against a slow reading of the rules, and at every edge."""

import math
import os
import signal
import struct
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import rlp as oracle_rlp
from Crypto.Hash import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vectors import VECTORS
from wakumail import bloom, envelope, rlp
from wakumail.envelope import Batch, Envelope, Rules, Verdict, judge, parse, parse_stream
from wakumail.errors import RlpError

NOW = 1_700_000_000
TOPIC = bytes.fromhex("deadbeef")
FREE = Rules(min_pow=0, min_pow_large=0)


def keccak256(data: bytes) -> bytes:
    return bytes(keccak.new(digest_bits=256, data=data).digest())


class Fields(NamedTuple):
    """An envelope as the oracle sees it."""

    expiry: int
    ttl: int
    topic: bytes = TOPIC
    data: bytes = b""
    nonce: int = 0

    @property
    def rlp(self) -> bytes:
        return bytes(oracle_rlp.encode([*self]))

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
        wanted = True
        if rules.topics is not None:
            wanted = self.topic in rules.topics
        elif rules.bloom is not None:
            wanted = bloom.covers(rules.bloom, self.topic)
        least = rules.min_pow if size < envelope.LARGE_ENVELOPE else rules.min_pow_large
        faults = [
            (self.ttl == 0, Verdict.TTL_ZERO),
            (size > rules.max_envelope_size, Verdict.TOO_LARGE),
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


def assert_judged(batch: Batch, envelopes: list[Fields], rules: Rules, now: int) -> None:
    verdicts = [fields.verdict(rules, now) for fields in envelopes]
    assert [batch.verdict(i) for i in range(len(batch))] == verdicts
    counts = Counter(verdicts)
    accepted = [f for f, verdict in zip(envelopes, verdicts, strict=True) if not verdict]
    assert batch.accepted == counts.pop(Verdict.ACCEPTED, 0) == len(accepted)
    assert batch.accepted_size == sum(len(fields.rlp) for fields in accepted)
    assert batch.rejections == counts
    told = (Verdict.VERY_OLD, Verdict.FROM_FUTURE)
    assert batch.errors == [
        (keccak256(fields.rlp), verdict)
        for fields, verdict in zip(envelopes, verdicts, strict=True)
        if verdict in told
    ]
    for made, fields in zip(batch, envelopes, strict=True):
        assert_is(made, fields)


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
    assert batch.errors == []
    for rules in (FREE, Rules(), Rules(min_pow=0.5, min_pow_large=1e-8)):
        for now in (NOW, NOW + 50, 2**32 - 1):
            assert_judged(judge(packet_of(envelopes), rules, now), envelopes, rules, now)


@pytest.mark.parametrize("name", ["messages_packet", "p2p_messages_packet"])
def test_packet_vectors(name: str) -> None:
    packet = bytes.fromhex(VECTORS[name]["rlp"])
    items = oracle_rlp.decode(packet)
    batch = parse(packet)
    assert batch.raw == packet
    assert [made.rlp for made in batch] == [oracle_rlp.encode(item) for item in items]


@pytest.mark.parametrize("case", VECTORS["pow_time_adjusted"]["cases"], ids=lambda c: c["diff"])
def test_pow_of_the_future_is_adjusted(case: dict[str, Any]) -> None:
    made = Envelope.decode(bytes.fromhex(VECTORS["pow_time_adjusted"]["envelope_rlp"]))
    fields = Fields(made.expiry, made.ttl, made.topic, made.data, made.nonce)
    (expected,) = struct.unpack(">d", bytes.fromhex(case["pow"]["bits"]))
    assert fields.pow(fields.ttl + case["diff"]) == expected
    if case["diff"] == 1:  # would be an envelope of this very second, which is not adjusted
        return
    now = made.created - max(0, case["diff"] - 1)
    assert verdict_of(fields, Rules(min_pow=expected), now) == Verdict.ACCEPTED
    above = Rules(min_pow=math.nextafter(expected, math.inf))
    assert verdict_of(fields, above, now) == Verdict.LOW_POW


near = st.integers(-25, 25).map(lambda offset: NOW + offset)
ttls = st.sampled_from([0, 1, 10, 50, 2**32 - 1]) | st.integers(0, 60)
u32 = st.integers(0, 2**32 - 1)
topics = st.sampled_from([TOPIC, bytes(4), b"\xff" * 4]) | st.binary(min_size=4, max_size=4)
# Creation and expiry near now, or anything at all.
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
    # The minimum is the very PoW of one of them, or the next double above it.
    exact = [0.0] + [fields.pow_at(NOW) for fields in envelopes if fields.ttl]
    least = data.draw(st.sampled_from(exact))
    if data.draw(st.booleans()):
        least = math.nextafter(least, math.inf)
    size = data.draw(st.sampled_from([1 << 20, 100, *(len(f.rlp) for f in envelopes)]))
    rules = Rules(min_pow=least, max_envelope_size=size, topics=wanted, bloom=filter_bloom)
    assert_judged(judge(packet_of(envelopes), rules, NOW), envelopes, rules, NOW)


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
    rules = Rules(min_pow=0.0005, topics=[bytes(4), b"\0\0\0\1"])
    batch = judge(packet_of(envelopes), rules, NOW)
    assert_judged(batch, envelopes, rules, NOW)
    if count >= 63:
        assert set(batch.rejections) == set(Verdict) - {
            Verdict.ACCEPTED,
            Verdict.EXPIRED,
            Verdict.TOO_LARGE,
            Verdict.TTL_ZERO,
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
    assert verdict_of(fields, Rules(min_pow=exact)) == Verdict.ACCEPTED
    above = Rules(min_pow=math.nextafter(exact, 1))
    assert verdict_of(fields, above) == Verdict.LOW_POW


@pytest.mark.parametrize("now", [-1, 2**64])
def test_now_is_an_unsigned_integer(now: int) -> None:
    with pytest.raises(OverflowError):
        judge(b"\xc0", FREE, now)


def of_size(size: int, **changes: Any) -> Fields:
    """An envelope whose RLP has `size` bytes."""
    fields = Fields(NOW + 50, 50, TOPIC, bytes(size - 100), 0)._replace(**changes)
    return fields._replace(data=bytes(len(fields.data) + size - len(fields.rlp)))


def test_large_envelopes_need_less_work() -> None:
    small, large = of_size(envelope.LARGE_ENVELOPE - 1), of_size(envelope.LARGE_ENVELOPE)
    assert (len(small.rlp), len(large.rlp)) == (49_999, 50_000)
    exact = Rules(min_pow=small.pow(50), min_pow_large=large.pow(50))
    assert verdict_of(small, exact) == verdict_of(large, exact) == Verdict.ACCEPTED
    strict, strict_large = Rules(min_pow=1, min_pow_large=0), Rules(min_pow=0, min_pow_large=1)
    assert verdict_of(small, strict) == verdict_of(large, strict_large) == Verdict.LOW_POW
    assert verdict_of(large, strict) == verdict_of(small, strict_large) == Verdict.ACCEPTED


def test_the_largest_envelope() -> None:
    limit = Rules().max_envelope_size
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
        (Rules(max_envelope_size=9, topics=[], min_pow=99), Fields(NOW - 99, 0), Verdict.TTL_ZERO),
        (Rules(max_envelope_size=9, topics=[], min_pow=99), Fields(9, 99), Verdict.TOO_LARGE),
        (Rules(topics=[], min_pow=99), Fields(9, 99), Verdict.FROM_FUTURE),
        (Rules(topics=[], min_pow=99), Fields(NOW - 21, 9), Verdict.VERY_OLD),
        (Rules(topics=[], min_pow=99), Fields(NOW - 20, 9), Verdict.EXPIRED),
        (Rules(topics=[], min_pow=99), Fields(NOW, 9), Verdict.UNWANTED_TOPIC),
        (Rules(min_pow=99), Fields(NOW, 9), Verdict.LOW_POW),
    ]
    for rules, fields, verdict in faults:
        assert verdict_of(fields, rules) == verdict
    assert {verdict for _, _, verdict in faults} == set(Verdict) - {Verdict.ACCEPTED}


@given(st.lists(u32, max_size=200), st.lists(u32, max_size=20))
@settings(max_examples=50, deadline=None)
def test_topics_are_found(wanted: list[int], others: list[int]) -> None:
    known = [topic.to_bytes(4, "big") for topic in wanted]
    sample = [*known, *(topic.to_bytes(4, "big") for topic in others)]
    batch = judge(
        packet_of([Fields(NOW, 9, t) for t in sample]), Rules(min_pow=0, topics=known), NOW
    )
    assert [batch.verdict(i) == Verdict.ACCEPTED for i in range(len(sample))] == [
        topic in known for topic in sample
    ]


def test_topics_win_over_the_bloom() -> None:
    fields = Fields(NOW, 9)
    nothing = bytes(bloom.BLOOM_SIZE)
    assert verdict_of(fields, Rules(min_pow=0, topics=[TOPIC], bloom=nothing)) == Verdict.ACCEPTED
    assert verdict_of(fields, Rules(min_pow=0, bloom=nothing)) == Verdict.UNWANTED_TOPIC
    full = bloom.FULL_BLOOM
    assert verdict_of(fields, Rules(min_pow=0, topics=[], bloom=full)) == Verdict.UNWANTED_TOPIC
    assert verdict_of(fields, Rules(min_pow=0, bloom=full)) == Verdict.ACCEPTED


def test_rules_are_checked_and_frozen() -> None:
    rules = Rules(topics=[TOPIC, TOPIC], bloom=bloom.FULL_BLOOM)
    assert (rules.min_pow, rules.min_pow_large, rules.max_envelope_size) == (0.002, 2e-6, 1 << 20)
    assert (rules.topics, rules.bloom) == (frozenset([TOPIC]), bloom.FULL_BLOOM)
    with pytest.raises(AttributeError):
        rules.min_pow = 1.0  # type: ignore[misc]
    for wrong in (-0.1, math.inf, math.nan):
        with pytest.raises(ValueError, match="minimum PoW"):
            Rules(min_pow=wrong)
        with pytest.raises(ValueError, match="minimum PoW"):
            Rules(min_pow_large=wrong)
    for topic in (b"", b"abc", b"abcde"):
        with pytest.raises(ValueError, match="4 bytes"):
            Rules(topics=[TOPIC, topic])
    with pytest.raises(TypeError):
        Rules(topics=["text"])  # type: ignore[list-item]
    for size in (0, 63, 65):
        with pytest.raises(ValueError, match="64 bytes"):
            Rules(bloom=bytes(size))
    with pytest.raises(OverflowError):
        Rules(max_envelope_size=-1)


GOOD = Fields(NOW + 50, 50, TOPIC, b"data", 1)
EXPIRY, TTL, DATA, NONCE = b"\x84\x65\x53\xf1\x32", b"\x32", b"\x83abc", b"\x05"
ITEMS = [EXPIRY, TTL, b"\x84" + TOPIC, DATA, NONCE]


def with_item(place: int, raw: bytes) -> bytes:
    return rlp.join_list([*ITEMS[:place], raw, *ITEMS[place + 1 :]])


MALFORMED = {
    "no item": b"\xc0",
    "four items": rlp.join_list(ITEMS[:4]),
    "six items": rlp.join_list([*ITEMS, b"\x80"]),
    "a string": b"\x83abc",
    "a byte": b"\x01",
    "packed in a list": rlp.join_list([rlp.join_list(ITEMS)]),
    **{f"list as item {i}": with_item(i, b"\xc0") for i in range(5)},
    **{f"long list as item {i}": with_item(i, b"\xf8\x38" + bytes(56)) for i in range(5)},
    "expiry with a zero": with_item(0, b"\x85\x00\x65\x53\xf1\x32"),
    "expiry of zero as a byte": with_item(0, b"\x00"),
    "expiry of 5 bytes": with_item(0, b"\x85\x01\x00\x00\x00\x00"),
    "ttl with a zero": with_item(1, b"\x82\x00\x32"),
    "ttl as a string of one": with_item(1, b"\x81\x32"),
    "ttl of 5 bytes": with_item(1, b"\x85\x01\x00\x00\x00\x00"),
    "no topic": with_item(2, b"\x80"),
    "topic of 1 byte": with_item(2, b"\x01"),
    "topic of 3 bytes": with_item(2, b"\x83abc"),
    "topic of 5 bytes": with_item(2, b"\x85abcde"),
    "topic in the long form": with_item(2, b"\xb8\x04abcd"),
    "data of one in two": with_item(3, b"\x81\x05"),
    "data in the long form": with_item(3, b"\xb8\x03abc"),
    "data with a padded size": with_item(3, b"\xb9\x00\x38" + bytes(56)),
    "data beyond the envelope": with_item(3, b"\xa0abc"),
    "data of 4 GiB": with_item(3, b"\xbb\xff\xff\xff\xff"),
    "data of 2^64 bytes": with_item(3, b"\xbf" + b"\xff" * 8),
    "nonce of zero as a byte": with_item(4, b"\x00"),
    "nonce with a zero": with_item(4, b"\x88\x00" + bytes(7)),
    "nonce of 9 bytes": with_item(4, b"\x89" + b"\x01" * 9),
    "nonce cut off": with_item(4, b"\x88\x01"),
    "a long header": b"\xf8\x10" + b"".join(ITEMS),
    "a padded header": b"\xf9\x00\x10" + b"".join(ITEMS),
}


def test_the_parts_make_a_good_one() -> None:
    assert Envelope.decode(rlp.join_list(ITEMS)).data == b"abc"


@pytest.mark.parametrize("bad", MALFORMED.values(), ids=MALFORMED.keys())
def test_one_malformed_envelope_spoils_the_packet(bad: bytes) -> None:
    for before, after in [(0, 0), (0, 2), (3, 0), (70, 1)]:
        envelopes = [GOOD.rlp] * before + [bad] + [GOOD.rlp] * after
        for call in every_reader(envelopes):
            with pytest.raises(RlpError):
                call()


def every_reader(envelopes: list[bytes]) -> Iterator[Callable[[], object]]:
    packet = rlp.join_list(envelopes)
    yield lambda: judge(packet, FREE, NOW)
    yield lambda: parse(packet)
    yield lambda: parse_stream(b"".join(envelopes), final=True)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x80",
        b"\x01",
        b"\x83abc",
        GOOD.rlp,
        rlp.join_list([GOOD.rlp])[:-1],
        rlp.join_list([GOOD.rlp]) + b"\x00",
        rlp.join_list([GOOD.rlp]) + b"\xc0",
        b"\xc0\xc0",
        b"\xf8",
        b"\xf8" + bytes([len(GOOD.rlp)]) + GOOD.rlp,
        b"\xf9\x00\xa0" + bytes(160),
        b"\xfb\xff\xff\xff\xff",
        b"\xff" + b"\xff" * 8,
        rlp.encode(GOOD.rlp),
    ],
    ids=lambda packet: packet[:8].hex() or "empty",
)
def test_malformed_packets(packet: bytes) -> None:
    with pytest.raises(RlpError):
        judge(packet, FREE, NOW)
    with pytest.raises(RlpError):
        parse(packet)


@given(st.lists(envelopes_of, min_size=1, max_size=3), st.data())
@settings(max_examples=150, deadline=None)
def test_mutations_are_refused_or_canonical(envelopes: list[Fields], data: st.DataObject) -> None:
    mutant = bytearray(packet_of(envelopes))
    mutant[data.draw(st.integers(0, len(mutant) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        batch = parse(bytes(mutant))
    except RlpError:
        return
    remade = [envelope.make_envelope(e.expiry, e.ttl, e.topic, e.data, e.nonce) for e in batch]
    assert rlp.join_list(made.rlp for made in remade) == mutant
    assert remade == list(batch)


def test_an_empty_list() -> None:
    for batch in (judge(b"\xc0", FREE, NOW), parse(b"\xc0"), parse_stream(b"", final=True)[0]):
        assert (len(batch), batch.accepted, batch.accepted_size) == (0, 0, 0)
        assert (batch.rejections, batch.errors, list(batch)) == ({}, [], [])
        with pytest.raises(IndexError):
            batch[0]


def test_only_bytes() -> None:
    for wrong in (None, bytearray(b"\xc0"), "text"):
        with pytest.raises(TypeError):
            judge(wrong, FREE, NOW)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            parse(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            Envelope.decode(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        judge(b"\xc0", None, NOW)  # type: ignore[arg-type]


def test_four_gibibytes_are_refused() -> None:
    try:
        huge = bytes(2**32)  # pages of zeros that nobody touches
    except MemoryError:
        pytest.skip("no room for 4 GiB of address space")
    with pytest.raises(ValueError, match="2\\^32") as caught:
        parse(huge)
    assert not isinstance(caught.value, RlpError)
    with pytest.raises(ValueError, match="2\\^32"):
        parse_stream(huge, final=False)


def test_a_stream_is_cut_anywhere() -> None:
    envelopes = [GOOD, Fields(0, 0, bytes(4)), GOOD._replace(data=bytes(300)), GOOD]
    stream = b"".join(fields.rlp for fields in envelopes)
    ends = [0]
    for fields in envelopes:
        ends.append(ends[-1] + len(fields.rlp))
    for cut in range(len(stream) + 1):
        whole = max(i for i, end in enumerate(ends) if end <= cut)
        batch, used = parse_stream(stream[:cut], final=False)
        assert (len(batch), used) == (whole, ends[whole])
        rest, used_after = parse_stream(stream[used:], final=True)
        assert used + used_after == len(stream)
        for made, fields in zip([*batch, *rest], envelopes, strict=True):
            assert_is(made, fields)
        if cut not in ends:
            with pytest.raises(RlpError, match=f"at byte {ends[whole]}"):
                parse_stream(stream[:cut], final=True)


def test_a_stream_of_something_else() -> None:
    for garbage in (b"\x00", b"\x80", b"\xbf", b"text", b"\xb8\xff", b"\xff" + b"\xff" * 8):
        for final in (False, True):
            with pytest.raises(RlpError):
                parse_stream(GOOD.rlp + garbage, final=final)


def test_a_stream_does_not_wait_for_ever() -> None:
    limit = envelope.MAX_STREAM_ENVELOPE
    largest = of_size(limit).rlp
    assert len(largest) == limit
    assert parse_stream(largest, final=False)[1] == limit
    assert parse_stream(largest[:-1], final=False)[1] == 0
    over = of_size(limit + 1).rlp
    assert parse_stream(over[:limit], final=False)[1] == 0
    for data in (over, over + GOOD.rlp):
        with pytest.raises(RlpError, match="limit"):
            parse_stream(data, final=False)
    with pytest.raises(RlpError, match="limit"):
        parse_stream(b"\xfb\xff\xff\xff\xff" + bytes(limit), final=False)


def test_an_envelope_is_a_value() -> None:
    made, same = Envelope.decode(GOOD.rlp), envelope.make_envelope(*GOOD)
    other = envelope.make_envelope(*GOOD._replace(nonce=2))
    assert made == same
    assert hash(made) == hash(same)
    assert made != other
    assert made != GOOD.rlp
    assert made.hash.hex() in repr(made)
    with pytest.raises(AttributeError):
        made.ttl = 1  # type: ignore[misc]
    with pytest.raises(TypeError, match="make_envelope"):
        Envelope()
    for data in (b"", GOOD.rlp * 2, GOOD.rlp + b"\x80", packet_of([GOOD])):
        with pytest.raises(RlpError):
            Envelope.decode(data)


def test_faults_of_who_makes_an_envelope() -> None:
    for topic in (b"", b"abc", b"abcde"):
        with pytest.raises(ValueError, match="4 bytes"):
            envelope.make_envelope(NOW, 1, topic, b"", 0)
    for wrong in ((-1, 1, 0), (2**32, 1, 0), (NOW, -1, 0), (NOW, 2**32, 0), (NOW, 1, 2**64)):
        with pytest.raises(OverflowError):
            envelope.make_envelope(wrong[0], wrong[1], TOPIC, b"", wrong[2])


def test_a_batch_is_indexed_as_a_list() -> None:
    envelopes = [GOOD._replace(nonce=i) for i in range(5)]
    batch = parse(packet_of(envelopes))
    assert [batch[i].nonce for i in range(-5, 5)] == [0, 1, 2, 3, 4] * 2
    for index in (-6, 5, 2**40):
        with pytest.raises(IndexError):
            batch[index]
        with pytest.raises(IndexError):
            batch.verdict(index)
    with pytest.raises(AttributeError):
        batch.raw = b""  # type: ignore[misc]
    assert len(Batch()) == 0


def test_errors_are_listed_up_to_a_limit() -> None:
    count = envelope.MAX_ERRORS + 5
    batch = judge(packet_of([Fields(NOW - 30, 5)] * count), FREE, NOW)
    assert len(batch.errors) == envelope.MAX_ERRORS
    assert batch.rejections == {Verdict.VERY_OLD: count}


MINIMAL = Fields(0, 0, TOPIC).rlp
MANY = 500_000


def resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="freed memory is kept")
def test_memory_follows_the_packet() -> None:
    packet = rlp.join_list([MINIMAL] * MANY)
    before = resident()
    batch = judge(packet, FREE, NOW)
    assert (len(batch), batch.rejections) == (MANY, {Verdict.TTL_ZERO: MANY})
    assert resident() - before < 150 * MANY  # twice the record, for what the allocator keeps
    spoilt = rlp.join_list([*[MINIMAL] * MANY, b"\xc0"])
    before = resident()
    for _ in range(8):
        with pytest.raises(RlpError, match=f"envelope {MANY}"):
            judge(spoilt, FREE, NOW)
    assert resident() - before < 150 * MANY


@contextmanager
def no_forced_switch() -> Iterator[None]:
    """Another thread runs only when this one lets go of the GIL of its own will."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("work", ["judge", "mine"])
def test_other_threads_run_meanwhile(work: str) -> None:
    packet = rlp.join_list([Fields(NOW, 9).rlp] * MANY)
    started, done = threading.Event(), threading.Event()

    def run() -> None:
        started.set()
        if work == "judge":
            judge(packet, FREE, NOW)
        else:
            assert envelope.mine(NOW, 9, TOPIC, b"", target=1e60, max_nonces=MANY) is None
        done.set()

    with no_forced_switch():
        thread = threading.Thread(target=run)
        thread.start()
        started.wait()
        finished = done.is_set()
        thread.join()
    assert not finished


@pytest.mark.parametrize("size", [0, 1, 56, 130, 300, 2000])
@pytest.mark.parametrize("target", [0.0, 0.002, 0.2])
def test_mined_nonces_are_accepted(size: int, target: float) -> None:
    nonce = envelope.mine(NOW + 5, 5, TOPIC, bytes(size), target=target)
    assert nonce is not None
    fields = Fields(NOW + 5, 5, TOPIC, bytes(size), nonce)
    assert verdict_of(fields, Rules(min_pow=target)) == Verdict.ACCEPTED
    assert fields.pow(5) >= target
    # It is the first one: none below shows as much.
    assert envelope.mine(NOW + 5, 5, TOPIC, bytes(size), target=target, max_nonces=nonce) is None
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
    nonce = envelope.mine(NOW, ttl, TOPIC, bytes(size), target=target)
    first = next(n for n in range(10_000) if fields._replace(nonce=n).pow(ttl) >= target)
    assert nonce == first


def test_mining_goes_on_where_it_stopped() -> None:
    def mine(**limits: int) -> int | None:
        return envelope.mine(NOW, 50, TOPIC, b"data", target=1.0, **limits)

    found: list[int] = []
    start = 0
    while len(found) < 3:
        nonce = mine(start=start, max_nonces=1000)
        if nonce is None:
            start += 1000
        else:
            found.append(nonce)
            start = nonce + 1
    assert found[0] == mine()
    for earlier, later in pairwise(found):
        assert mine(start=earlier) == earlier
        assert mine(start=earlier + 1) == later
        assert mine(start=earlier + 1, max_nonces=later - earlier - 1) is None
        assert mine(start=earlier + 1, max_nonces=later - earlier) == later
    assert mine(max_nonces=0) is None
    assert mine(max_nonces=-1) is None


def test_mining_ends_with_the_last_nonce() -> None:
    start = 2**64 - 100
    assert envelope.mine(NOW, 50, TOPIC, b"", target=1e9, start=start) is None
    assert envelope.mine(NOW, 50, TOPIC, b"", target=1e9, start=start, max_nonces=2**70) is None
    with pytest.raises(OverflowError):
        envelope.mine(NOW, 50, TOPIC, b"", target=1.0, start=2**64)


def test_mining_is_cancelled_by_a_signal() -> None:
    def stop(*_: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(InterruptedError):
            envelope.mine(NOW, 50, TOPIC, b"", target=1e60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_what_cannot_be_mined() -> None:
    for target in (math.inf, math.nan, 2.0**257):
        with pytest.raises(ValueError, match="no nonce"):
            envelope.mine(NOW, 50, TOPIC, b"", target=target)
    with pytest.raises(ValueError, match="ttl"):
        envelope.mine(NOW, 0, TOPIC, b"", target=1.0)
    with pytest.raises(ValueError, match="4 bytes"):
        envelope.mine(NOW, 50, b"abc", b"", target=1.0)
