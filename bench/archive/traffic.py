"""The traffic that archives are made of: envelopes in the order in which a server gets them."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from random import Random

from wakumail.envelope import Batch, make_envelope, parse_stream

END = 1_700_000_000
"""Unix seconds at which all traffic ends: in the middle of a day, as it is mostly."""

DAY = 86_400
TTL = 50
ENVELOPE_SIZE = 538
"""Bytes of the RLP of an envelope with 512 bytes of data."""

NONCE = 1 << 63
"""Of the first envelope; all have eight bytes."""

MAX_DELAY = 20
"""Seconds that an envelope may be under way: the disorder of arrival."""

GROUP = 5000
"""Envelopes of one piece of a dump."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """So many envelopes on so many topics, evenly over the days before END.

    zipf: the topic of rank n has traffic in proportion to 1 / n; otherwise all have the same.
    512 bytes of data make an envelope of 538 bytes.
    """

    envelopes: int
    topic_count: int
    days: float = 30
    zipf: bool = False
    data_size: int = 512
    seed: int = 7

    @property
    def span(self) -> int:
        """Seconds from the first envelope to the last."""
        return int(self.days * DAY)

    @property
    def topics(self) -> list[bytes]:
        """All topics; the first has most traffic where they differ."""
        source = Random(self.seed)
        return [source.randbytes(4) for _ in range(self.topic_count)]

    def stream(self) -> Iterator[bytes]:
        """The RLP of each envelope; the same ones every time."""
        source = Random(self.seed + 1)
        topics = self.topics
        weights = list(
            accumulate(1 / (rank if self.zipf else 1) for rank in range(1, 1 + len(topics)))
        )
        filler = source.randbytes(self.data_size + GROUP)
        first = END - self.span + TTL
        for number in range(self.envelopes):
            if number % GROUP == 0:
                chosen = source.choices(topics, cum_weights=weights, k=GROUP)
            expiry = first + number * self.span // self.envelopes - int(MAX_DELAY * source.random())
            data = filler[number % GROUP :][: self.data_size]
            yield make_envelope(expiry, TTL, chosen[number % GROUP], data, NONCE + number).rlp

    def dump(self) -> Iterator[bytes]:
        """The same as pieces of a dump."""
        stream = self.stream()
        while piece := b"".join(islice(stream, GROUP)):
            yield piece

    def batches(self, size: int) -> Iterator[Batch]:
        """The same as batches of `size` envelopes, parsed and hashed."""
        stream = self.stream()
        while piece := b"".join(islice(stream, size)):
            yield parse_stream(piece, final=True)[0]
