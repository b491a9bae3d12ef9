"""Judgements that workers share in memory."""

import math
import os
import struct
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.archive_model import DAY, START, batch_of
from tests.support.archive_model import envelope as archived
from tests.support.envelope_oracle import FREE, NOW
from tests.support.envelopes import make, rules_with
from wakumail.archive.archive import Archive
from wakumail.base.rlp import join_list
from wakumail.errors import RlpError
from wakumail.waku.envelope import (
    Batch,
    Envelope,
    Verdict,
    judge,
    make_envelope,
    parse_stream,
)
from wakumail.waku.judgements import SLOT_SIZE, Judgements

ages = st.integers(0, 100)
ttls = st.integers(1, 80)
sizes = st.sampled_from([0, 1, 100, 500, 60_000])
fields = st.tuples(ages, ttls, sizes, st.integers(0, 2**64 - 1))


def of(batch: Batch) -> list[tuple[bytes, Verdict]]:
    return [(each.hash, batch.verdict(index)) for index, each in enumerate(batch)]


def slot(memory: bytearray, sequence: int) -> memoryview:
    return memoryview(memory)[sequence * SLOT_SIZE :][:SLOT_SIZE]


@given(st.lists(fields, max_size=20, unique=True), st.integers(1, 30), ages, st.data())
@settings(max_examples=60, deadline=None)
def test_it_judges_as_the_judge_does(
    drawn: list[tuple[int, int, int, int]], slots: int, later: int, data: st.DataObject
) -> None:
    """The result is the same if the memory has no room for all, so that some are hashed again."""
    envelopes = [
        make_envelope(NOW - age + ttl, ttl, b"aaaa", bytes(size), nonce)
        for age, ttl, size, nonce in drawn
    ]
    live = join_list([each.rlp for each in envelopes])
    judgements = Judgements(bytearray(slots * SLOT_SIZE))
    with TemporaryDirectory() as path, Archive(path) as archive:
        archive.judgements = judgements
        archive.append([judge(live, FREE, NOW)])
        found, following = archive.follow(0, max_bytes=1 << 30)
    stored = [each.rlp for each in parse_stream(found, final=True)[0]]
    exact = data.draw(st.sampled_from([0.0, *(each.pow for each in envelopes)]))
    least = data.draw(st.sampled_from([exact, math.nextafter(exact, math.inf)]))
    rules = rules_with(min_pow=least, min_pow_large=least / 2, max_envelope=50_000)
    batch = judgements.judge(found, following, rules, NOW + later)
    expected = judge(join_list(stored), rules, NOW + later)
    assert of(batch) == of(expected)
    assert (batch.accepted, batch.accepted_size) == (expected.accepted, expected.accepted_size)
    assert batch.rejections == expected.rejections


@pytest.fixture
def envelopes() -> list[Envelope]:
    return sorted(make(5, [b"aaaa"], created=NOW), key=lambda each: (each.created, each.hash))


def test_what_is_known_is_not_hashed_again(envelopes: list[Envelope], tmp_path: Path) -> None:
    """A judgement of another worker is used, but only for the envelope with its sequence."""
    memory = bytearray(8 * SLOT_SIZE)
    judgements = Judgements(memory)
    with Archive(tmp_path) as archive:
        archive.append([batch_of(archived(START, b"aaaa", number) for number in range(9))])
        archive.judgements = judgements
        archive.append([batch_of(envelopes)])  # from sequence 9 on
        found, following = archive.follow(9, max_bytes=1 << 20)
    expected = [each.hash for each in envelopes]
    assert [each.hash for each in judgements.judge(found, following, FREE, NOW)] == expected
    told = os.urandom(32)
    slot(memory, 1)[16:] = told
    expected[0] = told
    assert [each.hash for each in judgements.judge(found, following, FREE, NOW)] == expected
    for number in (0, 9, 18):  # a slot that is being written, and slots of other envelopes
        slot(memory, 1)[:8] = struct.pack("=Q", number)
        hashes = [each.hash for each in judgements.judge(found, following, FREE, NOW)]
        assert hashes == [each.hash for each in envelopes]


def test_a_commit_that_stores_nothing_says_nothing(
    envelopes: list[Envelope], tmp_path: Path
) -> None:
    memory = bytearray(8 * SLOT_SIZE)
    with Archive(tmp_path) as archive:
        archive.append([batch_of(envelopes)])
        archive.judgements = Judgements(memory)
        archive.append([batch_of(envelopes)])
    assert not any(memory)


def test_what_follows_leaves_no_gap(tmp_path: Path) -> None:
    """The envelopes of one call have the sequences before `following`."""
    with Archive(tmp_path) as archive:
        for day in (1, 0, 1):
            numbers = range(3)
            created = START + day * DAY + archive.stat().next_sequence
            archive.append([batch_of(archived(created, b"aaaa", number) for number in numbers)])
        archive.prune(START + DAY, limit=10)
        first, following = archive.follow(0, max_bytes=1 << 20)
        assert (len(parse_stream(first, final=True)[0]), following) == (3, 3)
        second, following = archive.follow(3, max_bytes=1 << 20)
        assert (len(parse_stream(second, final=True)[0]), following) == (3, 9)


def test_what_it_refuses(envelopes: list[Envelope]) -> None:
    with pytest.raises(ValueError, match="47 bytes are no slot"):
        Judgements(bytearray(SLOT_SIZE - 1))
    with pytest.raises(BufferError):
        Judgements(bytes(SLOT_SIZE))  # type: ignore[arg-type, unused-ignore]
    judgements = Judgements(bytearray(SLOT_SIZE))
    for wrong in (b"\xc0", b"a", envelopes[0].rlp[:-1], join_list([envelopes[0].rlp])):
        with pytest.raises(RlpError):
            judgements.judge(wrong, 1, FREE, NOW)
    assert len(judgements.judge(b"", 1, FREE, NOW)) == 0
