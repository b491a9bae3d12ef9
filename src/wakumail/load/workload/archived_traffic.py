"""The envelopes that archives are filled with: the same ones every time."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from random import Random

from wakumail.waku.envelope import Batch, make_envelope, parse_stream

TRAFFIC_END = 1_700_000_000
"""Unix seconds at which all archived traffic ends: not at the end of a day, as in practice."""

DAY = 86_400
ARCHIVED_TTL = 50
DATA_SIZE = 512
ENVELOPE_SIZE = 538
"""Bytes of the RLP of an envelope with DATA_SIZE bytes of data."""

FIRST_NONCE = 1 << 63
"""The nonce of the first envelope. All nonces have 8 bytes: one data size makes one size."""

MAX_ARRIVAL_DELAY = 20
"""Seconds by which an envelope may arrive late: they are not in order of time."""

DUMP_PIECE = 5000
"""Envelopes in one piece of a dump."""

ENVELOPES_PER_TOPIC = 1000
"""Over all days, in every archive: so the same request has an answer of the same size."""


@dataclass(frozen=True, slots=True)
class ArchivedTraffic:
    """Envelopes on `topic_count` topics, evenly spread over the days before TRAFFIC_END.

    zipf: the topic of rank n has traffic in proportion to 1 / n; otherwise all have the same.
    The data is random: like encrypted data, it does not compress.
    lost: the numbers of envelopes, from 0, that are left out.
    """

    envelopes: int
    topic_count: int
    days: float = 30
    zipf: bool = False
    data_size: int = DATA_SIZE
    seed: int = 7
    lost: range = range(0)

    @classmethod
    def of(cls, envelopes: int) -> "ArchivedTraffic":
        """Traffic with this number of envelopes, and ENVELOPES_PER_TOPIC for each topic."""
        return cls(envelopes, max(1, envelopes // ENVELOPES_PER_TOPIC))

    @property
    def span(self) -> int:
        """Seconds from the first envelope to the last."""
        return int(self.days * DAY)

    @property
    def topics(self) -> list[bytes]:
        """All topics. With `zipf` the first has the most traffic."""
        return make_topics(self.topic_count, self.seed)

    def stream(self) -> Iterator[bytes]:
        """The RLP of each envelope."""
        source = Random(self.seed + 1)
        topics = self.topics
        weights = list(
            accumulate(1 / (rank if self.zipf else 1) for rank in range(1, 1 + len(topics)))
        )
        first = TRAFFIC_END - self.span + ARCHIVED_TTL
        for number in range(self.envelopes):
            place = number % DUMP_PIECE
            if not place:
                chosen = source.choices(topics, cum_weights=weights, k=DUMP_PIECE)
                data = source.randbytes(DUMP_PIECE * self.data_size)
            expiry = (
                first
                + number * self.span // self.envelopes
                - int(MAX_ARRIVAL_DELAY * source.random())
            )
            if number in self.lost:
                continue
            own = data[place * self.data_size : (place + 1) * self.data_size]
            yield make_envelope(expiry, ARCHIVED_TTL, chosen[place], own, FIRST_NONCE + number).rlp

    def dump(self) -> Iterator[bytes]:
        """The envelopes as pieces of a dump."""
        stream = self.stream()
        while piece := b"".join(islice(stream, DUMP_PIECE)):
            yield piece

    def batches(self, size: int) -> Iterator[Batch]:
        """The envelopes in batches of `size`, parsed and hashed."""
        stream = self.stream()
        while piece := b"".join(islice(stream, size)):
            yield parse_stream(piece, final=True)[0]


def make_topics(count: int, seed: int = 7) -> list[bytes]:
    """Random topics; the same ones every time."""
    source = Random(seed)
    return [source.randbytes(4) for _ in range(count)]
