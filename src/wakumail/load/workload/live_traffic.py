"""Live envelopes for senders: all different, with the PoW that the server wants."""

import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from wakumail.load.workload.archived_traffic import DATA_SIZE, FIRST_NONCE, make_topics
from wakumail.waku.envelope import make_envelope
from wakumail.waku.pow import mine

LIVE_TTL = 120
"""Seconds. No envelope expires before a slow server has read it."""

REPEATABLE_ENVELOPES = 1000
"""A duplicate is one of this number of latest envelopes."""


@dataclass(frozen=True, slots=True)
class LiveTraffic:
    """Envelopes with `data_size` bytes of random data, on `topics` topics.

    duplicates: the share of envelopes that the same sender sent before, 0 to 0.99.
    """

    data_size: int = DATA_SIZE
    topics: int = 1000
    duplicates: float = 0.0

    def batches(self, count: int, size: int, min_pow: float) -> Iterator[list[bytes]]:
        """Make `count` envelopes now, as RLP, in batches of `size`."""
        topics = make_topics(self.topics)
        recent: deque[bytes] = deque(maxlen=REPEATABLE_ENVELOPES)
        fresh = 0
        for start in range(0, count, size):
            expiry = int(time.time()) + LIVE_TTL
            data = os.urandom(self.data_size * min(size, count - start))
            batch = []
            for number in range(start, min(start + size, count)):
                if recent and fresh >= (number + 1) * (1 - self.duplicates):
                    batch.append(recent[number % len(recent)])
                    continue
                place = (number - start) * self.data_size
                own = data[place : place + self.data_size]
                topic = topics[number % len(topics)]
                envelope = make_envelope(
                    expiry, LIVE_TTL, topic, own, self._nonce(expiry, topic, own, min_pow, number)
                ).rlp
                batch.append(envelope)
                recent.append(envelope)
                fresh += 1
            yield batch

    @staticmethod
    def _nonce(expiry: int, topic: bytes, data: bytes, min_pow: float, number: int) -> int:
        """A nonce of 8 bytes, so that all envelopes have one size."""
        if not min_pow:
            return FIRST_NONCE + number
        nonce = mine(expiry, LIVE_TTL, topic, data, target=min_pow, start=FIRST_NONCE)
        assert nonce is not None, "mining without a bound ends with a nonce"
        return nonce
