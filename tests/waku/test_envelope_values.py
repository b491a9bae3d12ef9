"""Envelopes and batches as values, and what they cost."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate, pairwise

import pytest

from tests.support.envelope_oracle import FREE, GOOD, NOW, TOPIC, Fields, errors_of, packet_of
from tests.support.patience import until
from wakumail.base import rlp
from wakumail.base.keccak import keccak256
from wakumail.errors import RlpError
from wakumail.waku import envelope
from wakumail.waku.bloom import topic_bloom
from wakumail.waku.confirmations import encode_message_response
from wakumail.waku.envelope import Batch, Envelope, Verdict, judge, judge_packets, parse
from wakumail.waku.interest import EVERYTHING, Interest
from wakumail.waku.pow import mine


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


OLD = Fields(NOW - 30, 5)
MOST_ERRORS = envelope.MAX_ERRORS_SIZE // (len(errors_of([(OLD, Verdict.VERY_OLD)])) - 1)
"""Errors of OLD that fit into a response. The header of a list of one has one byte."""


def test_all_errors_that_fit_into_a_response_are_listed() -> None:
    batch = judge(packet_of([OLD] * MOST_ERRORS), FREE, NOW, confirming=True)
    ((batch_hash, errors),) = batch.confirmations
    assert errors == errors_of([(OLD, Verdict.VERY_OLD)] * MOST_ERRORS)
    assert batch.unconfirmable == 0
    assert len(encode_message_response(batch_hash, errors)) <= 1 << 20


def test_a_packet_with_more_errors_is_not_confirmed() -> None:
    """An envelope that the response does not name counts as stored."""
    many = packet_of([OLD] * (MOST_ERRORS + 1))
    few = packet_of([OLD, GOOD])
    largest = packet_of([OLD] * envelope.MAX_ENVELOPES)
    ends = list(accumulate(map(len, (few, many, few, largest, few))))
    batch = judge_packets(few + many + few + largest + few, ends, FREE, NOW, confirming=True)
    assert batch.confirmations == [(keccak256(few), errors_of([(OLD, Verdict.VERY_OLD)]))] * 3
    assert (batch.packets, batch.unconfirmable) == (5, 2)
    assert batch.rejections == {Verdict.VERY_OLD: MOST_ERRORS + 4 + envelope.MAX_ENVELOPES}
    silent = judge_packets(few + many + few + largest + few, ends, FREE, NOW)
    assert (silent.confirmations, silent.unconfirmable) == ([], 0)


def mixed_batch() -> Batch:
    """Five envelopes that are accepted, and one that is not."""
    envelopes = [Fields(NOW + 9, 9, TOPIC, bytes(size)) for size in (0, 10, 10, 300)]
    return judge(packet_of([*envelopes, Fields(NOW + 9, 9, bytes(4)), Fields(9, 9)]), FREE, NOW)


def test_a_batch_is_selected_from_by_topic() -> None:
    batch = mixed_batch()
    assert batch.select(EVERYTHING) == [0, 1, 2, 3, 4]
    assert batch.select(Interest(topics=[TOPIC])) == [0, 1, 2, 3]
    assert batch.select(Interest(bloom=topic_bloom(bytes(4)))) == [4]
    assert batch.select(Interest(topics=[])) == []
    with pytest.raises(TypeError):
        batch.select(None)  # type: ignore[arg-type]


def test_sizes_are_counted_up_to_their_bounds() -> None:
    batch = mixed_batch()
    sizes = sorted(len(batch[i].rlp) for i in range(5))
    assert batch.sizes(()) == [5]
    assert batch.sizes((0, sizes[0], 2**40)) == [0, 2, 3, 0]
    for bounds in ((sizes[2],), (sizes[2] - 1, sizes[2], sizes[4]), (1, sizes[4] - 1)):
        expected = [sum(low < s <= high for s in sizes) for low, high in pairwise((-1, *bounds))]
        assert batch.sizes(bounds) == [*expected, sum(size > bounds[-1] for size in sizes)]
    assert parse(b"\xc0").sizes((1, 2)) == [0, 0, 0]


def test_items_are_the_creation_times_and_hashes() -> None:
    batch = mixed_batch()
    assert batch.items == b"".join(made.created.to_bytes(4, "big") + made.hash for made in batch)
    assert parse(b"\xc0").items == b""


def test_the_memory_of_a_batch_is_of_bytes_packets_and_envelopes() -> None:
    none, count = parse(b"\xc0").memory, 1000
    assert 500 < none < 2000
    empty = judge_packets(b"\xc0" * count, list(range(1, count + 1)), FREE, NOW)
    assert empty.memory > none + 40 * count
    packet = packet_of([GOOD] * count)
    assert parse(packet).memory > none + len(packet) + 64 * count


MINIMAL = Fields(0, 0, TOPIC).rlp
MANY = envelope.MAX_ENVELOPES


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


def test_too_many_are_refused_before_the_rest_is_read() -> None:
    with pytest.raises(RlpError, match=f"more than {MANY}"):
        judge(rlp.join_list([*[MINIMAL] * (MANY + 1), b"\xc0"]), FREE, NOW)
    assert len(parse(rlp.join_list([MINIMAL] * (MANY + 1)))) == MANY + 1


@contextmanager
def no_forced_switch() -> Iterator[None]:
    """Another thread runs only when this one releases the GIL by itself."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("work", ["judge", "mine"])
def test_other_threads_run_meanwhile(work: str) -> None:
    packet = rlp.join_list([Fields(NOW, 9).rlp] * MANY)

    def runs_meanwhile() -> bool:
        """True if this thread ran before the other was done: on a busy machine it may come late."""
        started, done = threading.Event(), threading.Event()

        def run() -> None:
            started.set()
            if work == "judge":
                judge(packet, FREE, NOW)
            else:
                assert mine(NOW, 9, TOPIC, b"", target=1e60, max_nonces=MANY) is None
            done.set()

        thread = threading.Thread(target=run)
        thread.start()
        started.wait()
        finished = done.is_set()
        thread.join()
        return not finished

    with no_forced_switch():
        until(runs_meanwhile)
