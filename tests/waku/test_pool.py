"""The pool of live envelopes: its limits, and its effect on judging and archiving."""

import gc
import os
import random
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.envelope_oracle import FREE, NOW, TOPIC, Fields, packet_of
from tests.support.envelopes import rules_with
from wakumail.archive.archive import Archive
from wakumail.base.rlp import split_list
from wakumail.waku.confirmations import NO_ERRORS
from wakumail.waku.envelope import (
    EXPIRY_GRACE,
    Batch,
    KnownHashes,
    Verdict,
    judge,
    parse,
)
from wakumail.waku.interest import EVERYTHING, Interest
from wakumail.waku.pool import (
    ENVELOPE_OVERHEAD,
    MAX_LIMITED_TOPICS,
    MAX_POOL_ENVELOPES,
    WORD_OVERHEAD,
    Pool,
)

MANY = 1 << 20


def batch_of(*envelopes: Fields) -> Batch:
    return parse(packet_of(list(envelopes)))


def numbered(count: int, *, start: int = 0, expiry: int = NOW + 60, size: int = 0) -> list[Fields]:
    return [Fields(expiry, 60, TOPIC, bytes(size), start + number) for number in range(count)]


def wanting(pool: Pool) -> int:
    slot = pool.join()
    pool.set_interest(slot, EVERYTHING, 0.0)
    return slot


def taken(pool: Pool, slot: int, *, max_bytes: int = MANY, now: int = NOW) -> Iterator[bytes]:
    """All packets for a slot."""
    while (packet := pool.take(slot, max_bytes=max_bytes, now=now)) is not None:
        yield packet


def test_what_came_first_goes_first() -> None:
    pool, envelopes = Pool(max_bytes=MANY), numbered(10)
    slot = wanting(pool)
    assert pool.add(batch_of(*envelopes[:4]), None, NOW) == 4
    assert list(taken(pool, slot)) == [packet_of(envelopes[:4])]
    assert pool.add(batch_of(*envelopes), None, NOW) == 6
    assert list(taken(pool, slot)) == [packet_of(envelopes[4:])]
    assert list(taken(pool, slot)) == []


def test_packets_keep_to_their_bounds() -> None:
    pool, envelopes = Pool(max_bytes=MANY), [*numbered(100, size=50), *numbered(1, size=5000)]
    pool.add(batch_of(*envelopes), None, NOW)
    for most in (0, 200, 1000, 4000):
        packets = list(taken(pool, wanting(pool), max_bytes=most))
        sent = [rlp for packet in packets for rlp in split_list(packet)]
        assert sent == [envelope.rlp for envelope in envelopes]
        for packet, later in pairwise(packets):
            assert len(packet) <= most or len(split_list(packet)) == 1
            # As many as fit.
            assert len(packet) + len(split_list(later)[0]) + 2 > most
    slot = wanting(pool)
    assert pool.take(slot, max_bytes=MANY, max_envelopes=7, now=NOW) == packet_of(envelopes[:7])
    assert pool.take(slot, max_bytes=MANY, max_envelopes=0, now=NOW) is None
    assert list(taken(pool, slot)) == [packet_of(envelopes[7:])]


def test_nothing_goes_back_to_its_sender() -> None:
    pool, envelopes = Pool(max_bytes=MANY), numbered(3)
    sender, other = wanting(pool), wanting(pool)
    pool.add(batch_of(*envelopes[:2]), sender, NOW)
    pool.add(batch_of(*envelopes[1:]), other, NOW)
    assert list(taken(pool, sender)) == [packet_of(envelopes[2:])]
    assert list(taken(pool, other)) == [packet_of(envelopes[:1])]
    batch = batch_of(*envelopes)
    assert all(pool.knows(slot, made.hash) for slot in (sender, other) for made in batch)


def test_a_changed_interest_has_all_offered_again() -> None:
    pool, envelopes = Pool(max_bytes=MANY), numbered(2)
    other = envelopes[1]._replace(topic=bytes(4))
    pool.add(batch_of(envelopes[0], other), None, NOW)
    slot = pool.join()
    assert list(taken(pool, slot)) == []
    pool.set_interest(slot, Interest(topics=[bytes(4)]), 0.0)
    assert list(taken(pool, slot)) == [packet_of([other])]
    pool.set_interest(slot, EVERYTHING, 1e9)
    assert list(taken(pool, slot)) == []
    pool.set_interest(slot, EVERYTHING, 0.0)
    assert list(taken(pool, slot)) == [packet_of(envelopes[:1])]


def test_the_expired_are_known_while_they_could_be_accepted_again() -> None:
    pool, (envelope,) = Pool(max_bytes=MANY), numbered(1, expiry=NOW)
    made = batch_of(envelope)[0]
    last = NOW + EXPIRY_GRACE
    slot = wanting(pool)
    assert pool.add(judge(packet_of([envelope]), FREE, last), None, last) == 1
    assert list(taken(pool, slot, now=NOW + 1)) == []
    assert pool.expire(last) == 0
    assert judge(packet_of([envelope]), FREE, last, pool).verdict(0) == Verdict.DUPLICATE
    assert pool.expire(last + 1) == 1
    assert not pool.contains(made.hash)
    assert judge(packet_of([envelope]), FREE, last + 1, pool).verdict(0) == Verdict.EXPIRED
    # Past its grace, as history is: it stays accepted, but is not added.
    batch = batch_of(envelope)
    assert pool.add(batch, slot, last + 1) == 0
    assert (batch.accepted, pool.envelopes, pool.expired) == (1, 0, 1)
    assert not pool.knows(slot, made.hash)


def test_the_known_are_judged_without_their_work() -> None:
    pool, envelopes = Pool(max_bytes=MANY), numbered(5)
    pool.add(batch_of(*envelopes[:2]), None, NOW)
    everyone = packet_of(envelopes)
    batch = judge(everyone, rules_with(min_pow=1e9), NOW, pool)
    assert batch.rejections == {Verdict.DUPLICATE: 2, Verdict.LOW_POW: 3}
    assert [made.rlp for made in batch] == [fields.rlp for fields in envelopes]
    batch = judge(everyone, FREE, NOW, pool, confirming=True)
    assert (batch.accepted, batch.rejections) == (3, {Verdict.DUPLICATE: 2})
    assert [errors for _, errors in batch.confirmations] == [NO_ERRORS]
    # Faults that need no hash come first.
    late = judge(everyone, FREE, NOW + 100, pool)
    assert late.rejections == {Verdict.VERY_OLD: 5}
    assert judge(everyone, FREE, NOW, KnownHashes()).accepted == 5
    assert judge(everyone, FREE, NOW, None).accepted == 5
    with pytest.raises(TypeError):
        judge(everyone, FREE, NOW, set())  # type: ignore[arg-type]


def test_duplicates_are_marked_in_their_batch_and_not_archived(tmp_path: Path) -> None:
    pool, envelopes = Pool(max_bytes=MANY), numbered(3)
    pool.add(batch_of(envelopes[0]), None, NOW)
    batch = batch_of(*envelopes, *envelopes)
    assert pool.add(batch, None, NOW) == 2
    assert batch.accepted == 2
    assert batch.accepted_size == sum(len(fields.rlp) for fields in envelopes[1:])
    assert batch.rejections == {Verdict.DUPLICATE: 4}
    assert batch.select(EVERYTHING) == [1, 2]
    with Archive(tmp_path) as archive:
        appended = archive.append([batch])
        assert (appended.stored, appended.duplicates) == (2, 0)
        assert not archive.contains(batch[0].created, batch[0].hash)


def test_only_good_envelopes_enter() -> None:
    pool = Pool(max_bytes=MANY)
    slot = wanting(pool)
    envelopes = [Fields(NOW - 15, 5), Fields(NOW - 30, 5), Fields(NOW, 0), Fields(NOW + 9, 9)]
    batch = judge(packet_of(envelopes), FREE, NOW)
    assert pool.add(batch, slot, NOW) == 1
    assert [pool.contains(made.hash) for made in batch] == [False, False, False, True]


def test_over_the_bounds_the_oldest_go() -> None:
    envelopes = numbered(100, size=100)
    each = len(envelopes[0].rlp) + ENVELOPE_OVERHEAD + WORD_OVERHEAD
    for pool in (Pool(max_bytes=each * 11 - 1), Pool(max_bytes=MANY, max_envelopes=10)):
        for start in range(0, 100, 7):
            pool.add(batch_of(*envelopes[start : start + 7]), None, NOW)
        assert (pool.envelopes, pool.evicted) == (10, 90)
        assert pool.size == 10 * len(envelopes[0].rlp)
        (packet,) = taken(pool, wanting(pool))
        assert [len(rlp) for rlp in split_list(packet)] == [len(envelopes[0].rlp)] * 10
        assert split_list(packet)[-1] == envelopes[-1].rlp


def test_one_that_is_larger_than_the_pool() -> None:
    pool, (small, large) = Pool(max_bytes=5000), [*numbered(1), *numbered(1, size=5000)]
    slot = wanting(pool)
    assert pool.add(batch_of(small, large, small), slot, NOW) == 3
    assert (pool.envelopes, pool.evicted) == (1, 2)
    assert pool.knows(slot, batch_of(small)[0].hash)


def test_topics_are_limited_by_the_second() -> None:
    pool, envelopes = Pool(max_bytes=MANY), numbered(7)
    others = [Fields(NOW + 60, 60, bytes(4), b"", nonce) for nonce in range(2)]
    pool.add(batch_of(*envelopes, *others), None, NOW)
    slot = wanting(pool)
    pool.set_topic_limits(slot, 3, 0)
    assert list(taken(pool, slot)) == [packet_of([*envelopes[:3], *others])]
    pool.add(batch_of(*numbered(1, start=100)), None, NOW)
    assert list(taken(pool, slot)) == []
    assert list(taken(pool, slot, now=NOW + 1)) == [packet_of(envelopes[3:6])]
    pool.set_topic_limits(slot, 0, 2 * len(envelopes[0].rlp))
    later = [*envelopes[6:], *numbered(1, start=100)]
    assert list(taken(pool, slot, now=NOW + 2)) == [packet_of(later)]
    # One that is over the limit by itself is sent all the same, but no other with it.
    large = numbered(2, start=200, size=500)
    pool.add(batch_of(*large), None, NOW)
    assert list(taken(pool, slot, now=NOW + 3)) == [packet_of(large[:1])]
    assert list(taken(pool, slot, now=NOW + 4)) == [packet_of(large[1:])]


def of_topics(count: int, nonce: int) -> list[Fields]:
    """`count` envelopes, each of another topic."""
    topics = [number.to_bytes(4, "big") for number in range(count)]
    return [Fields(NOW + 60, 60, topic, b"", nonce) for topic in topics]


def test_any_number_of_topics_is_limited() -> None:
    envelopes = [*of_topics(2000, 1), *of_topics(2000, 2)]
    pool = Pool(max_bytes=MANY)
    pool.add(batch_of(*envelopes), None, NOW)
    slot = wanting(pool)
    pool.set_topic_limits(slot, 1, 0)
    for second, sent in enumerate((envelopes[:2000], envelopes[2000:])):
        packets = taken(pool, slot, max_bytes=10_000, now=NOW + second)
        rlps = [rlp for packet in packets for rlp in split_list(packet)]
        assert rlps == [fields.rlp for fields in sent]
    before = pool.memory
    assert list(taken(pool, slot, now=NOW + 2)) == []
    assert pool.memory < before


def test_the_topics_of_a_second_are_limited_too() -> None:
    envelopes = of_topics(MAX_LIMITED_TOPICS + 10, 1)
    pool = Pool(max_bytes=4 * MANY)
    pool.add(batch_of(*envelopes), None, NOW)
    slot = wanting(pool)
    before = pool.memory
    pool.set_topic_limits(slot, 2, 0)
    assert list(taken(pool, slot)) == [packet_of(envelopes[:MAX_LIMITED_TOPICS])]
    assert pool.memory < before + MANY
    assert list(taken(pool, slot, now=NOW + 1)) == [packet_of(envelopes[MAX_LIMITED_TOPICS:])]


@pytest.mark.parametrize("peers", [1, 64, 65, 300])
def test_slots_are_used_again_and_begin_anew(peers: int) -> None:
    pool, envelopes = Pool(max_bytes=MANY), numbered(5)
    hashes = [made.hash for made in batch_of(*envelopes)]
    pool.add(batch_of(*envelopes), None, NOW)
    used = set()
    for _ in range(10):
        slots = [wanting(pool) for _ in range(peers)]
        assert len(set(slots)) == peers
        used |= {*slots}
        for slot in slots:
            assert not any(pool.knows(slot, each) for each in hashes)
            assert list(taken(pool, slot)) == [packet_of(envelopes)]
        for slot in slots:
            pool.leave(slot)
    assert len(used) < peers + 64


def test_what_goes_makes_place_for_what_comes() -> None:
    """Many times more envelopes than places: no trace of earlier ones shows."""
    kept, step, peers = 300, 70, 70
    pool = Pool(max_bytes=64 * MANY, max_envelopes=kept)
    slots = [wanting(pool) for _ in range(peers)]
    envelopes = numbered(10 * kept)
    most = 0
    for start in range(0, len(envelopes), step):
        some = envelopes[start : start + step]
        sender = slots[start // step % peers]
        pool.add(batch_of(*some), sender, NOW)
        most = max(most, pool.memory)
        late = wanting(pool)
        everything = packet_of(envelopes[max(0, start + len(some) - kept) : start + len(some)])
        assert list(taken(pool, late)) == [everything]
        pool.leave(late)
        fresh = packet_of(some)
        for slot in slots:
            assert list(taken(pool, slot)) == ([] if slot == sender else [fresh])
    assert (pool.envelopes, pool.evicted) == (kept, 9 * kept)
    assert most == pool.memory


def test_memory_follows_what_is_held() -> None:
    pool = Pool(max_bytes=MANY)
    empty = pool.memory
    long_lived = numbered(1, start=10**6, expiry=NOW + 10**6)
    pool.add(batch_of(*long_lived), None, NOW)
    most = 0
    for second in range(200):
        now = NOW + second
        pool.add(batch_of(*numbered(100, start=100 * second, expiry=now + 2)), None, now)
        assert pool.expire(now) <= 100
        most = max(most, pool.memory)
    assert pool.envelopes <= 15 * 100
    assert most < empty + 15 * 100 * 400
    assert pool.expire(NOW + 10**5) == pool.expired - 18_700
    assert (pool.envelopes, pool.contains(batch_of(*long_lived)[0].hash)) == (1, True)
    assert pool.evicted == 0


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("peers", [1, 65, 2000])
@pytest.mark.parametrize("size", [0, 500])
def test_memory_stays_near_its_bound(size: int, peers: int, late: bool) -> None:
    """The memory is bounded for envelopes of any size and any number of peers."""
    pool = Pool(max_bytes=2 * MANY)
    for _ in range(0 if late else peers):
        pool.join()
    for start in range(0, 20_000, 1000):
        pool.add(batch_of(*numbered(1000, start=start, size=size)), None, NOW)
    for _ in range(peers if late else 0):
        pool.join()
    assert pool.evicted > 0
    assert MANY < pool.memory < 3 * MANY


def test_late_peers_take_the_room_of_the_oldest() -> None:
    envelopes = numbered(100)
    size, before = len(envelopes[0].rlp), ENVELOPE_OVERHEAD + WORD_OVERHEAD
    pool = Pool(max_bytes=100 * (size + before))
    assert pool.add(batch_of(*envelopes), None, NOW) == 100
    slots = [wanting(pool) for _ in range(64)]
    assert (pool.overhead, pool.evicted) == (before, 0)
    slots.append(wanting(pool))
    assert pool.overhead == before + WORD_OVERHEAD
    assert pool.envelopes == pool.max_bytes // (size + pool.overhead) == 100 - pool.evicted
    for slot in slots:
        assert list(taken(pool, slot)) == [packet_of(envelopes[pool.evicted :])]
        pool.leave(slot)
    assert wanting(pool) in slots


def test_wishes_that_stay_the_same_offer_nothing_again() -> None:
    pool, (first, other) = Pool(max_bytes=MANY), numbered(2)
    pool.add(batch_of(first), None, NOW)
    slot = wanting(pool)
    pool.set_topic_limits(slot, 1, 0)
    assert list(taken(pool, slot)) == [packet_of([first])]
    pool.add(batch_of(other), None, NOW)
    assert list(taken(pool, slot)) == []
    pool.set_topic_limits(slot, 0, 0)
    pool.set_interest(slot, Interest(), 0.0)
    assert list(taken(pool, slot)) == []
    pool.set_interest(slot, EVERYTHING, 1e-9)
    assert list(taken(pool, slot)) == [packet_of([other])]


def resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="freed memory is kept")
def test_nothing_leaks() -> None:
    packet = packet_of(numbered(2000, size=200))

    def live_once(rounds: int) -> int:
        for _ in range(rounds):
            pool = Pool(max_bytes=MANY // 4)
            for _ in range(70):
                slot = wanting(pool)
                pool.set_topic_limits(slot, 50, 0)
            pool.add(parse(packet), slot, NOW)
            assert pool.take(0, max_bytes=MANY, now=NOW)
            pool.expire(NOW + 1000)
            pool.add(parse(packet), None, NOW)
        gc.collect()
        return resident()

    before = live_once(10)
    assert live_once(30) - before < MANY


def test_threads_do_not_harm_each_other() -> None:
    pool, packet = Pool(max_bytes=MANY), packet_of(numbered(500, size=10))
    added: list[int] = []

    def run() -> None:
        source = random.Random(1)
        for _ in range(30):
            slot = wanting(pool)
            added.append(pool.add(judge(packet, FREE, NOW, pool), slot, NOW))
            pool.take(slot, max_bytes=source.choice([500, 50_000]), now=NOW)
            pool.leave(slot)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(added), sum(added)) == (120, 500)


def test_the_clock_may_say_anything() -> None:
    pool = Pool(max_bytes=MANY)
    last = 2**64 - 1
    envelopes = numbered(1, expiry=2**32 - 1) + numbered(1, expiry=NOW)
    assert pool.expire(last) == 0
    assert pool.add(batch_of(*envelopes), None, last) == 0
    assert pool.add(batch_of(*envelopes), None, 0) == 2
    assert list(taken(pool, wanting(pool), now=last)) == []
    assert pool.expire(NOW) == 0
    assert pool.expire(NOW + 11) == 1
    assert pool.expire(0) == 0
    assert pool.expire(2**32 + EXPIRY_GRACE - 1) == 0
    assert pool.expire(2**32 + EXPIRY_GRACE) == 1
    for wrong in (-1, 2**64):
        with pytest.raises(OverflowError):
            pool.expire(wrong)
        with pytest.raises(OverflowError):
            pool.add(batch_of(*envelopes), None, wrong)


def test_what_is_no_pool() -> None:
    for max_bytes, max_envelopes in ((0, 1), (1, 0), (1, MAX_POOL_ENVELOPES + 1)):
        with pytest.raises(ValueError, match="room"):
            Pool(max_bytes=max_bytes, max_envelopes=max_envelopes)
    with pytest.raises(OverflowError):
        Pool(max_bytes=-1)
    assert Pool(max_bytes=1, max_envelopes=MAX_POOL_ENVELOPES).envelopes == 0


def test_what_is_no_slot_or_hash() -> None:
    pool = Pool(max_bytes=MANY)
    gone = pool.join()
    pool.leave(gone)
    batch = batch_of(*numbered(1))
    for slot in (gone, gone + 1, 2**40):
        for call in (
            lambda slot: pool.leave(slot),
            lambda slot: pool.set_interest(slot, EVERYTHING, 0.0),
            lambda slot: pool.set_topic_limits(slot, 1, 1),
            lambda slot: pool.add(batch, slot, NOW),
            lambda slot: pool.take(slot, max_bytes=1, now=NOW),
            lambda slot: pool.knows(slot, bytes(32)),
        ):
            with pytest.raises(ValueError, match=f"slot {slot} has no peer"):
                call(slot)
    assert (pool.envelopes, batch.accepted) == (0, 1)
    for size in (0, 31, 33):
        with pytest.raises(ValueError, match="32 bytes"):
            pool.contains(bytes(size))
        with pytest.raises(ValueError, match="32 bytes"):
            pool.knows(pool.join(), bytes(size))
    with pytest.raises(TypeError):
        pool.set_interest(pool.join(), None, 0.0)  # type: ignore[arg-type]
