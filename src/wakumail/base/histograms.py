"""Histograms of durations and sizes. The part that measures a value keeps its histogram.

The bounds include all of status-go's, so that dashboards made for its histograms fit these too.
"""

from bisect import bisect_left
from collections.abc import Sequence
from operator import add

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""From half a millisecond (an archive answers from memory) to 30 s (Status clients give up)."""

ENVELOPE_BYTES = tuple(
    sorted({256 * 4**power for power in range(10)} | {1024 * 2**power for power in range(11)})
)
"""Sizes of an envelope's RLP in bytes: the bounds of both histograms that status-go has."""

ANSWER_BYTES = tuple(1024 * 4**power for power in range(10))
"""Bytes of all packets of one answer together."""


class Histogram:
    """Counts values: `counts` has one for each of `bounds` (inclusive), and one for the rest."""

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
        """Add many values at once: `counts` for each bound and the rest, and their sum."""
        if len(counts) != len(self.counts):
            raise ValueError(f"{len(counts)} counts for {len(self.counts)} buckets")
        self.counts[:] = map(add, self.counts, counts)
        self.sum += total
