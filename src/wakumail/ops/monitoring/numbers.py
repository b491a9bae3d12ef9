"""The numbers of a report, looked up by the names of /metrics."""

from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise

from wakumail.ops.monitoring.report import Report

Labels = tuple[str, ...]


class Numbers:
    """The numbers of one report."""

    def __init__(self, report: Report) -> None:
        self._sums: dict[str, float] = defaultdict(float)
        self._rows: dict[str, dict[Labels, float]] = defaultdict(dict)
        self._buckets: dict[str, dict[float, float]] = defaultdict(dict)
        for family in report.families:
            for name, labels, value in family.samples:
                values = dict(labels)
                if name == f"{family.name}_bucket":
                    self._buckets[family.name][float(values["le"])] = value
                else:
                    self._sums[name] += value
                    self._rows[name][tuple(values.values())] = value

    def value(self, name: str) -> float | None:
        """The sum of the samples of this name; None if there is none."""
        return self._sums.get(name)

    def rows(self, name: str) -> Mapping[Labels, float]:
        """The samples of this name, by the values of their labels."""
        return self._rows.get(name, {})

    def buckets(self, name: str) -> Mapping[float, float]:
        """The cumulative counts of a histogram, by their upper bounds."""
        return self._buckets.get(name, {})

    def quantile(self, name: str, part: float) -> float | None:
        """A quantile of a histogram, as Prometheus' histogram_quantile; None if it is empty.

        Within a bucket the values are taken to lie evenly. What lies above the last bound is told
        as that bound.
        """
        buckets = [(0.0, 0.0), *self.buckets(name).items()]
        rank = part * buckets[-1][1]
        if not rank:
            return None
        for (lower, before), (upper, count) in pairwise(buckets):
            if count >= rank:
                if upper == float("inf"):
                    return lower
                return lower + (upper - lower) * (rank - before) / (count - before)
        return None
