"""Envelopes and batches as values, what they cost, and the mining of their proof of work."""

import math
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
import rlp as oracle_rlp
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.envelope_oracle import (
    FREE,
    GOOD,
    NOW,
    TOPIC,
    Fields,
    packet_of,
    verdict_of,
)
from wakumail import envelope, rlp
from wakumail.envelope import Batch, Envelope, Rules, Verdict, judge, parse
from wakumail.errors import RlpError


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
