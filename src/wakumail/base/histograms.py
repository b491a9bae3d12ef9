"""Histograms: how long things took and how large they were; each is kept by whoever measures.

The buckets hold those of status-go, so that what was drawn from its histograms can be drawn from
these.
"""

from bisect import bisect_left
from collections.abc import Sequence
from operator import add

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""From half a millisecond, where an archive answers from memory, to when Status clients give up."""

ENVELOPE_BYTES = tuple(
    sorted({256 * 4**power for power in range(10)} | {1024 * 2**power for power in range(11)})
)
"""Sizes of an envelope's RLP: the buckets of both histograms that status-go has of them."""

ANSWER_BYTES = tuple(1024 * 4**power for power in range(10))
"""Sizes of the packets of one answer together."""


class Histogram:
    """How many values were at most so large: one count for each bound, and one for the rest."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Add one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add_counts(self, counts: Sequence[int], total: float) -> None:
        """Add many values at once: how many fell to each bound, and the sum of all."""
        if len(counts) != len(self.counts):
            raise ValueError(f"{len(counts)} counts for {len(self.counts)} buckets")
        self.counts[:] = map(add, self.counts, counts)
        self.sum += total
