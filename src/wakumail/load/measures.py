"""The numbers in a report: their names and units, and their medians."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

Measures = Mapping[str, float]
"""The numbers of one run, by the key of the metric."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that a run measures."""

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
        Metric("affordable", "CPU allows", "envelopes/s", higher_is_better=True),
        Metric("log_rate", "the log alone", "envelopes/s", higher_is_better=True, charted=False),
        Metric("delivered", "delivered", "envelopes/s", higher_is_better=True),
        Metric("throughput", "throughput", "MB/s", higher_is_better=True),
        Metric("handshakes", "connected", "handshakes/s", higher_is_better=True),
        Metric("handshake_p99", "handshake p99", "ms", 1),
        Metric("requests_kept", "requests kept", "% of those before", 1, higher_is_better=True),
        Metric("datagrams", "flood", "datagrams/s", charted=False),
        Metric("envelopes", "envelopes", "a request", higher_is_better=True, charted=False),
        Metric("p50", "p50", "ms", 2),
        Metric("p99", "p99", "ms", 2),
        Metric("log_p99", "p99 of the log", "ms", 2, charted=False),
        Metric("log_distance", "p99 / p99 of the log", "x", 2),
        Metric("p50_warm", "p50 warm", "ms", 2),
        Metric("chill", "p50 / p50 warm", "x", 2),
        Metric("disk_reads", "read from disk", "KiB/request"),
        Metric("disk_waits", "waits for the disk", "a request"),
        Metric("p99_alone", "p99 alone", "ms", 2, charted=False),
        Metric("slowdown", "p99 / p99 alone", "x", 2),
        Metric("p99_drift", "p99 after the soak", "x a new server's", 2),
        Metric("stored", "stored", "envelopes/s", higher_is_better=True),
        Metric("ready", "ready", "s", 1),
        Metric("caught_up", "caught up", "envelopes/s", higher_is_better=True),
        Metric("import_time", "time", "x that of an import", 2),
        Metric("trips", "trips", "", charted=False),
        Metric("sent", "sent by the initiator", "KB", 1, charted=False),
        Metric("received", "sent by the responder", "KB", 1, charted=False),
        Metric("initiator_cpu", "CPU of the initiator", "ms", 2),
        Metric("responder_cpu", "CPU of the responder", "ms", 2),
        Metric("envelope_cpu", "server CPU", "us/envelope", 2),
        Metric("alone_cpu", "server CPU alone", "us/envelope", 2, charted=False),
        Metric("added_cpu", "more than alone", "us/envelope", 2),
        Metric("log_cpu", "CPU of the log", "us/envelope", 2),
        Metric("request_cpu", "server CPU", "ms/request", 2),
        Metric("envelope_floor", "floor", "us/envelope", 2, charted=False),
        Metric("request_floor", "floor", "ms/request", 3, charted=False),
        Metric("distance", "server CPU", "x the floor", 2),
        Metric("cpu_share", "server CPU", "% of a core", 2),
        Metric("connection_memory", "memory", "KiB/connection", 1),
        Metric("peak", "peak memory", "MiB"),
        Metric("resident", "without mapped files", "MiB", charted=False),
        Metric("memory_drift", "memory, last third", "x the first", 2),
        Metric("disk", "on disk", "B/envelope"),
        Metric("disk_free", "free of that", "B/envelope", charted=False),
        Metric("start", "start-up", "s", 2),
        Metric("ratio", "server CPU", "x the other's", 2),
        Metric("growth", "CPU on 10 x the archive", "x", 2),
        Metric("attempts", "attempts", "", charted=False),
        Metric("served", "of them served", "", higher_is_better=True, charted=False),
        Metric("blows", "attacks", "", charted=False),
        Metric("step", "longest step", "ms", 1),
        Metric("step_limit", "of at most", "ms", 1, charted=False),
        Metric("client", "busiest client", "% of a core", charted=False),
        Metric("cores", "all cores", "% busy", charted=False),
    )
}
"""In the order of a report's columns."""

CLIENT_LIMIT = 80.0
"""Percent of a core above which the client may be the bottleneck."""

CORES_LIMIT = 95.0
"""Percent of all cores above which the clients took CPU that the server could have used."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of all runs, with the least and the greatest."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of these values, at least one."""
        return cls(min(values), median(values), max(values))


def percentile(seconds: Sequence[float], percent: int) -> float:
    """The value that `percent` of all values do not exceed; 0 if there are none."""
    if len(seconds) < 2:
        return sum(seconds)
    return quantiles(seconds, n=100, method="inclusive")[percent - 1]


def ratio(one: float, other: float) -> float:
    """`one` divided by `other`; 0 if `other` is 0."""
    return one / other if other else 0.0
