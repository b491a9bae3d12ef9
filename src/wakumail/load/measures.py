"""What is measured: the names, units and medians of the numbers in a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

Measures = Mapping[str, float]
"""What one run came to, by the key of the metric."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that a run gives."""

    key: str
    title: str
    unit: str
    digits: int = 0
    higher_is_better: bool = False
    charted: bool = True

    def text(self, value: float) -> str:
        """A value for a person, without its unit."""
        return f"{value:,.{self.digits}f}"

    @property
    def heading(self) -> str:
        """Title and unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


METRICS = {
    metric.key: metric
    for metric in (
        Metric("ingested", "ingested", "envelopes/s", higher_is_better=True),
        Metric("delivered", "delivered", "envelopes/s", higher_is_better=True),
        Metric("throughput", "throughput", "MB/s", higher_is_better=True),
        Metric("handshakes", "connected", "handshakes/s", higher_is_better=True),
        Metric("handshake_p99", "handshake p99", "ms", 1),
        Metric("envelopes", "envelopes", "a request", higher_is_better=True, charted=False),
        Metric("p50", "p50", "ms", 2),
        Metric("p99", "p99", "ms", 2),
        Metric("p99_alone", "p99 alone", "ms", 2, charted=False),
        Metric("slowdown", "p99 against alone", "x", 2),
        Metric("p99_drift", "p99 in the end", "x a new server's", 2),
        Metric("envelope_cpu", "server CPU", "us/envelope", 2),
        Metric("request_cpu", "server CPU", "ms/request", 2),
        Metric("cpu_share", "server CPU", "% of a core", 2),
        Metric("connection_memory", "memory", "KiB/connection", 1),
        Metric("peak", "peak memory", "MiB"),
        Metric("resident", "without mapped files", "MiB", charted=False),
        Metric("memory_drift", "memory, last third", "x the first", 2),
        Metric("disk", "on disk", "B/envelope"),
        Metric("start", "start-up", "s", 2),
        Metric("growth", "CPU on 10 x the archive", "x", 2),
        Metric("client", "busiest client", "% of a core", charted=False),
        Metric("cores", "all cores", "% busy", charted=False),
    )
}
"""In the order of a report's columns."""

CLIENT_LIMIT = 80.0
"""Percent of a core above which a client may be what was measured."""

CORES_LIMIT = 95.0
"""Percent of all cores above which the clients took what the server could have used."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of all runs, with the least and the greatest."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of one value at least."""
        return cls(min(values), median(values), max(values))


def percentile(seconds: Sequence[float], percent: int) -> float:
    """What so many percent of the values do not exceed; 0 of none."""
    if len(seconds) < 2:
        return sum(seconds)
    return quantiles(seconds, n=100, method="inclusive")[percent - 1]


def ratio(one: float, other: float) -> float:
    """Their quotient, 0 where it has no meaning."""
    return one / other if other else 0.0
