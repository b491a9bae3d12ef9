"""The pool against its model: after any operations both give the same results."""

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.envelope_oracle import NOW
from tests.support.pool_model import PoolModel
from wakumail.base.rlp import join_list
from wakumail.waku.bloom import bloom_of
from wakumail.waku.envelope import Envelope, make_envelope, parse
from wakumail.waku.interest import EVERYTHING, Interest
from wakumail.waku.pool import Pool

TOPICS = [bytes([number]) * 4 for number in range(5)]


def envelope_of(number: int, expiry: int) -> Envelope:
    source = random.Random(number)
    data = source.randbytes(source.choice([0, 1, 30, 60, 200, 300, 2000]))
    return make_envelope(expiry, source.choice([1, 60]), source.choice(TOPICS), data, number)


EXPIRIES = [*range(NOW - 12, NOW + 12), NOW + 4095, NOW + 4096, NOW + 9000, 2**32 - 1, 0]
ENVELOPES = [envelope_of(number, expiry) for number, expiry in enumerate(3 * EXPIRIES)]
WORK = sorted(envelope.pow for envelope in ENVELOPES)

INTERESTS = [
    EVERYTHING,
    Interest(topics=[]),
    Interest(topics=TOPICS[:1]),
    Interest(topics=TOPICS[1:4]),
    Interest(bloom=bytes(64)),
    Interest(bloom=bloom_of(TOPICS[3:])),
]
STEPS = [0, 1, 1, 5, 11, 4095, 4096, 4097, 10_000, 2**32]

interests = st.sampled_from(INTERESTS)
batches = st.lists(st.sampled_from(ENVELOPES), max_size=12)
sizes = st.sampled_from([0, 60, 120, 300, 1000, 1 << 20])
numbers = st.integers(-3, 3)  # of a peer: the oldest three, the youngest three


class PoolMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = NOW

    @initialize(
        max_bytes=st.sampled_from([1, 1000, 5000, 1 << 20]),
        max_envelopes=st.sampled_from([1, 3, 20, 1 << 20]),
        peers=st.sampled_from([0, 1, 2, 63, 64, 65, 130, 300]),
        full=st.booleans(),
    )
    def start(self, max_bytes: int, max_envelopes: int, peers: int, full: bool) -> None:
        self.pool = Pool(max_bytes=max_bytes, max_envelopes=max_envelopes)
        self.model = PoolModel(max_bytes, max_envelopes)
        if full:
            self.add(ENVELOPES, None)
        for number in range(peers):
            self.join(INTERESTS[number % len(INTERESTS)])

    def slot(self, number: int) -> int:
        peers = list(self.model.peers)
        return peers[number % len(peers)]

    @rule(interest=interests)
    def join(self, interest: Interest) -> None:
        slot = self.pool.join()
        self.model.join(slot)
        assert self.pool.take(slot, max_bytes=1, now=self.now) is None
        self.tell(slot, interest, 0.0)

    def tell(self, slot: int, interest: Interest, min_pow: float) -> None:
        self.pool.set_interest(slot, interest, min_pow)
        self.model.set_interest(slot, interest, min_pow)

    @precondition(lambda self: self.model.peers)
    @rule(number=numbers, count=st.sampled_from([1, 1, 64, 70, 130]), again=st.booleans())
    def leave(self, number: int, count: int, again: bool) -> None:
        for _ in range(min(count, len(self.model.peers))):
            slot = self.slot(number)
            self.pool.leave(slot)
            self.model.leave(slot)
            if again:
                self.join(EVERYTHING)

    @precondition(lambda self: self.model.peers)
    @rule(number=numbers, interest=interests, place=st.sampled_from([0, 1, 2, 20, 40]))
    def set_interest(self, number: int, interest: Interest, place: int) -> None:
        self.tell(self.slot(number), interest, WORK[place])

    @precondition(lambda self: self.model.peers)
    @rule(number=numbers, envelopes=st.integers(0, 3), size=st.sampled_from([0, 1, 150, 2000]))
    def set_topic_limits(self, number: int, envelopes: int, size: int) -> None:
        slot = self.slot(number)
        self.pool.set_topic_limits(slot, envelopes, size)
        self.model.peers[slot].limits = envelopes, size

    @rule(envelopes=batches, number=st.none() | numbers)
    def add_some(self, envelopes: list[Envelope], number: int | None) -> None:
        sender = None if number is None or not self.model.peers else self.slot(number)
        self.add(envelopes, sender)

    def add(self, envelopes: list[Envelope], sender: int | None) -> None:
        batch = parse(join_list(envelope.rlp for envelope in envelopes))
        added, verdicts = self.model.add(envelopes, sender, self.now)
        assert self.pool.add(batch, sender, self.now) == added
        assert [batch.verdict(i) for i in range(len(batch))] == verdicts
        good = [e for e, verdict in zip(envelopes, verdicts, strict=True) if not verdict]
        assert batch.accepted == len(good)
        assert batch.accepted_size == sum(len(envelope.rlp) for envelope in good)

    @precondition(lambda self: self.model.peers)
    @rule(number=numbers, max_bytes=sizes, max_envelopes=st.sampled_from([0, 1, 2, 1 << 16]))
    def take(self, number: int, max_bytes: int, max_envelopes: int) -> None:
        self.send(self.slot(number), max_bytes, max_envelopes)

    @rule(max_bytes=sizes)
    def take_by_all(self, max_bytes: int) -> None:
        for slot in self.model.peers:
            self.send(slot, max_bytes, 1 << 16)

    @precondition(lambda self: self.model.peers)
    @rule(number=numbers)
    def look(self, number: int) -> None:
        slot = self.slot(number)
        assert self.pool.next_size(slot, now=self.now) == self.model.next_size(slot, self.now)

    def send(self, slot: int, max_bytes: int, max_envelopes: int) -> None:
        expected = self.model.take(slot, max_bytes, max_envelopes, self.now)
        packet = self.pool.take(
            slot, max_bytes=max_bytes, max_envelopes=max_envelopes, now=self.now
        )
        assert packet == expected

    @rule()
    def expire(self) -> None:
        assert self.pool.expire(self.now) == self.model.expire(self.now)

    @rule(step=st.sampled_from([*STEPS, *(-step for step in STEPS)]))
    def clock(self, step: int) -> None:
        self.now = max(0, self.now + step)

    @invariant()
    def alike(self) -> None:
        if not hasattr(self, "pool"):
            return
        pool, model = self.pool, self.model
        assert pool.envelopes == len(model.live)
        assert (pool.size, pool.overhead) == (model.size, model.overhead)
        assert (pool.evicted, pool.expired) == (model.evicted, model.expired)
        peers = list(model.peers)
        some = {*peers[:2], *peers[-2:]}
        for envelope in ENVELOPES:
            there = model.live.get(envelope.hash)
            assert pool.contains(envelope.hash) == (there is not None)
            for slot in some:
                knows = there is not None and slot in there.knowing
                assert pool.knows(slot, envelope.hash) == knows


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
