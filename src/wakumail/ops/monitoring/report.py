"""A report: the metrics and problems of one process, as plain values that can be summed.

The metrics come from exposition.py. As plain values they can go from process to process without the
client library of Prometheus.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol, Self

from wakumail.counters import Counters

SUMMED_ALWAYS = ("counter", "histogram")

SHARED = ("wakumail_archive_", "wakumail_check_failing", "wakumail_build", "p2p_peers_max",
          "mailserver_archived_envelopes_total", "process_start_time_", "process_max_fds",
          "python_")  # fmt: skip
"""Prefixes of gauges that are not summed: all workers report the same, or the largest counts."""

SMALLEST = ("wakumail_sync_seconds_since_",)
"""Prefixes of gauges of which the smallest counts: one worker has the connection to a peer."""


class Sample(NamedTuple):
    """One number."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


class Measured(Protocol):
    """The part of a client library's metric that is read here."""

    name: str
    documentation: str
    type: str
    samples: list[Any]


class Family(NamedTuple):
    """A metric: all samples of one name."""

    name: str
    text: str
    kind: str
    samples: list[Sample]

    @classmethod
    def of(cls, metric: Measured) -> Self:
        """The values of a metric."""
        samples = [
            Sample(sample.name, tuple(sample.labels.items()), sample.value)
            for sample in metric.samples
        ]
        return cls(metric.name, metric.documentation, metric.type, samples)

    @property
    def adds_up(self) -> bool:
        """True if its samples belong to one process, and not to what all share."""
        return self.kind in SUMMED_ALWAYS or not self.name.startswith(SHARED)


class Problem(NamedTuple):
    """A check that fails; `seconds` since it was first seen to fail."""

    check: str
    reason: str
    seconds: float


class Report(NamedTuple):
    """The metrics and problems of one worker, or of all."""

    families: list[Family]
    problems: list[Problem]

    @classmethod
    def read(cls, value: Any) -> Self:
        """A report that went through JSON."""
        families, problems = value
        return cls(
            [
                Family(name, text, kind, [_read_sample(*sample) for sample in samples])
                for name, text, kind, samples in families
            ],
            [Problem(*problem) for problem in problems],
        )

    def last_words(self) -> "Report":
        """The part that still counts when the process has ended: counters and histograms."""
        return Report([family for family in self.families if family.kind in SUMMED_ALWAYS], [])


def counted(counters: Counters) -> Report:
    """The report of counters alone."""
    return Report(
        [
            Family(f"wakumail_{name}", "", "counter", [Sample(f"wakumail_{name}_total", (), count)])
            for name, count in counters.items()
        ],
        [],
    )


def together(reports: Iterable[Report]) -> Report:
    """The sum of several reports."""
    families: dict[str, Family] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    problems: list[Problem] = []
    for report in reports:
        problems += report.problems
        for family in report.families:
            families.setdefault(family.name, family)
            found = values.setdefault(family.name, {})
            for name, labels, value in family.samples:
                before = found.get((name, labels))
                if before is None:
                    found[name, labels] = value
                elif family.name.startswith(SMALLEST):
                    found[name, labels] = min(before, value)
                elif family.adds_up:
                    found[name, labels] = before + value
                else:
                    found[name, labels] = max(before, value)
    return Report(
        [
            family._replace(samples=list(_samples(values[name])))
            for name, family in families.items()
        ],
        problems,
    )


def _samples(
    values: dict[tuple[str, tuple[tuple[str, str], ...]], float],
) -> Iterator[Sample]:
    for (name, labels), value in values.items():
        yield Sample(name, labels, value)


def _read_sample(name: str, labels: list[list[str]], value: float) -> Sample:
    return Sample(name, tuple((label, text) for label, text in labels), value)
