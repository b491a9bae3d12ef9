"""A pool in plain Python, to compare with the compiled one."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.support.envelope_oracle import is_wanted
from wakumail.base.rlp import join_list
from wakumail.waku.envelope import EXPIRY_GRACE, Envelope, Verdict
from wakumail.waku.interest import Interest
from wakumail.waku.pool import ENVELOPE_OVERHEAD, MAX_LIMITED_TOPICS, WORD_OVERHEAD


class Live(NamedTuple):
    sequence: int
    envelope: Envelope
    knowing: set[int]


@dataclass
class Peer:
    interest: Interest | None = None
    min_pow: float = 0.0
    cursor: float = 0
    held: float = math.inf
    limits: tuple[int, int] = (0, 0)
    second: int = 0
    uses: dict[bytes, tuple[int, int]] = field(default_factory=dict)

    def begin_second(self, now: int) -> None:
        if self.second != now:
            self.second, self.uses = now, {}
            self.cursor, self.held = min(self.cursor, self.held), math.inf

    def wants(self, envelope: Envelope, now: int) -> bool:
        assert self.interest is not None
        return (
            envelope.expiry >= now
            and envelope.pow >= self.min_pow
            and is_wanted(envelope.topic, self.interest)
        )

    def spend(self, envelope: Envelope) -> bool:
        """True if the limits allow one more of its topic in this second; counts it then."""
        if not any(self.limits):
            return True
        size = len(envelope.rlp)
        if envelope.topic not in self.uses and len(self.uses) == MAX_LIMITED_TOPICS:
            return False
        count, total = self.uses.get(envelope.topic, (0, 0))
        within = (
            not limit or reached <= limit
            for limit, reached in zip(self.limits, (count + 1, total + size), strict=True)
        )
        if count and not all(within):
            return False
        self.uses[envelope.topic] = count + 1, total + size
        return True


class PoolModel:
    def __init__(self, max_bytes: int, max_envelopes: int) -> None:
        self.max_bytes, self.max_envelopes = max_bytes, max_envelopes
        self.live: dict[bytes, Live] = {}
        self.peers: dict[int, Peer] = {}
        self.next_sequence = self.evicted = self.expired = 0
        self.words = 1

    @property
    def size(self) -> int:
        return sum(len(each.envelope.rlp) for each in self.live.values())

    @property
    def overhead(self) -> int:
        return ENVELOPE_OVERHEAD + self.words * WORD_OVERHEAD

    def join(self, slot: int) -> None:
        assert slot not in self.peers
        self.peers[slot] = Peer()
        self.words = max(self.words, slot // 64 + 1)
        self._evict()

    def leave(self, slot: int) -> None:
        del self.peers[slot]
        for each in self.live.values():
            each.knowing.discard(slot)

    def set_interest(self, slot: int, interest: Interest, min_pow: float) -> None:
        peer = self.peers[slot]
        if (interest, min_pow) != (peer.interest, peer.min_pow):
            peer.interest, peer.min_pow, peer.cursor, peer.held = interest, min_pow, 0, math.inf

    def add(
        self, envelopes: list[Envelope], slot: int | None, now: int
    ) -> tuple[int, list[Verdict]]:
        """The number of new envelopes, and the verdict on each."""
        before, verdicts = self.next_sequence, []
        for envelope in envelopes:
            there = self.live.get(envelope.hash)
            verdicts.append(Verdict.DUPLICATE if there else Verdict.ACCEPTED)
            if there is None and envelope.expiry + EXPIRY_GRACE >= now:
                there = self.live[envelope.hash] = Live(self.next_sequence, envelope, set())
                self.next_sequence += 1
            if there is not None and slot is not None:
                there.knowing.add(slot)
            self._evict()
        return self.next_sequence - before, verdicts

    def _evict(self) -> None:
        while (
            len(self.live) > self.max_envelopes
            or self.size + self.overhead * len(self.live) > self.max_bytes
        ):
            del self.live[next(iter(self.live))]
            self.evicted += 1

    def next_size(self, slot: int, now: int) -> int:
        peer = self.peers[slot]
        if peer.interest is None:
            return 0
        peer.begin_second(now)
        for sequence, envelope, knowing in self.live.values():
            if sequence >= peer.cursor and slot not in knowing and peer.wants(envelope, now):
                peer.cursor = sequence
                return len(join_list([envelope.rlp]))
        peer.cursor = self.next_sequence
        return 0

    def take(self, slot: int, max_bytes: int, max_envelopes: int, now: int) -> bytes | None:
        peer = self.peers[slot]
        if peer.interest is None:
            return None
        peer.begin_second(now)
        chosen: list[bytes] = []
        reached = self.next_sequence
        for sequence, envelope, knowing in self.live.values():
            if sequence < peer.cursor:
                continue
            if len(chosen) == max_envelopes:
                reached = sequence
                break
            if slot in knowing or not peer.wants(envelope, now):
                continue
            if chosen and len(join_list([*chosen, envelope.rlp])) > max_bytes:
                reached = sequence
                break
            if peer.spend(envelope):
                chosen.append(envelope.rlp)
                knowing.add(slot)
            else:
                peer.held = min(peer.held, sequence)
        peer.cursor = reached
        return join_list(chosen) if chosen else None

    def expire(self, now: int) -> int:
        gone = [h for h, each in self.live.items() if each.envelope.expiry + EXPIRY_GRACE < now]
        for each in gone:
            del self.live[each]
        self.expired += len(gone)
        return len(gone)
