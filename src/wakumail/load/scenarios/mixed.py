"""The scenarios with two kinds of clients: what a small request takes alone, and beside others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from wakumail.load.clients.blocking_connection import LOAD_TIMEOUT
from wakumail.load.clients.history_reader import HistoryReaderLoad
from wakumail.load.clients.processes import ClientPool
from wakumail.load.clients.role import Load, Outcome
from wakumail.load.clients.sender import SenderLoad
from wakumail.load.clients.slow_reader import SlowReaderLoad
from wakumail.load.clients.storm_client import StormLoad
from wakumail.load.measured_server import MeasuredServer
from wakumail.load.measures import Measures, percentile, ratio
from wakumail.load.scenarios.cases import CLIENT_PROCESSES, MAX_REQUESTS, plural, sendings, split
from wakumail.load.watch import Watch, all_seconds, latencies, rate, span, throughput
from wakumail.load.workload.archived_traffic import ArchivedTraffic
from wakumail.load.workload.request_kinds import ALL_PAGES, ALL_TOPICS, ONE_TOPIC

UNLIMITED_REQUESTS = 1 << 30
OPEN_REQUESTS = 4
"""Requests of one slow reader."""


class Others(Protocol):
    """What goes on beside the small requests."""

    @property
    def scenario(self) -> str:
        """The scenario's name."""

    @property
    def title(self) -> str:
        """What it is, for a person."""

    @property
    def ends(self) -> bool:
        """Whether it comes to an end by itself."""

    @property
    def writes(self) -> bool:
        """Whether it writes into the archive."""

    def loads(self, traffic: ArchivedTraffic) -> Sequence[Load]:
        """The clients."""

    def measures(self, outcomes: Sequence[Outcome]) -> Measures:
        """What they came to."""


@dataclass(frozen=True, slots=True)
class MixedCase:
    """One client that asks for one topic of a day, alone and beside others."""

    others: Others
    traffic: ArchivedTraffic
    seconds: float

    @property
    def scenario(self) -> str:
        """That of the others."""
        return self.others.scenario

    @property
    def title(self) -> str:
        """Beside what."""
        return f"{ONE_TOPIC.name}, beside {self.others.title}"

    def measure(self, server: MeasuredServer, pool: ClientPool) -> Measures:
        """First alone; then until the others come to their end, or for as long as before."""
        others = self.others
        specs = ONE_TOPIC.specs(self.traffic)
        alone = HistoryReaderLoad(specs, self.seconds, MAX_REQUESTS)
        beside = (
            HistoryReaderLoad(specs, LOAD_TIMEOUT, UNLIMITED_REQUESTS) if others.ends else alone
        )
        with server.serving(self.traffic, writing=others.writes) as running:
            with pool.open([alone], running.enode) as small:
                small.prepare()
                (quiet,) = Watch(running, []).run([small])
            with (
                pool.open([beside], running.enode) as small,
                pool.open(others.loads(self.traffic), running.enode) as crowd,
            ):
                small.prepare()
                crowd.prepare()
                watch = Watch(running, [])
                first, then = (crowd, small) if others.ends else (small, crowd)
                results = watch.run([first], background=[then])
                busy, crowded = reversed(results) if others.ends else results
                before, during = latencies(quiet), latencies(busy)
                return {
                    **during,
                    "p99_alone": before["p99"],
                    "slowdown": ratio(during["p99"], before["p99"]),
                    **others.measures(crowded),
                    **watch.memory(),
                    **watch.bottleneck(results[-1]),
                }


@dataclass(frozen=True, slots=True)
class Posting:
    """Others send envelopes."""

    load: SenderLoad
    scenario: str = "mixed"
    ends: bool = True
    writes: bool = True

    @property
    def title(self) -> str:
        """How many."""
        return f"{self.load.count:,} envelopes from {plural(self.load.connections, 'sender')}"

    def loads(self, traffic: ArchivedTraffic) -> Sequence[Load]:
        """Senders."""
        return sendings(self.load)

    def measures(self, outcomes: Sequence[Outcome]) -> Measures:
        """How fast they were taken."""
        return {"ingested": rate(outcomes)}


@dataclass(frozen=True, slots=True)
class Bulk:
    """One other reads a whole day again and again."""

    scenario: str = "fairness"
    title: str = "one who reads everything"
    ends: bool = False
    writes: bool = False

    def loads(self, traffic: ArchivedTraffic) -> Sequence[Load]:
        """The reader."""
        return [HistoryReaderLoad(ALL_PAGES.specs(traffic), LOAD_TIMEOUT, UNLIMITED_REQUESTS)]

    def measures(self, outcomes: Sequence[Outcome]) -> Measures:
        """How fast it read."""
        return {"throughput": throughput(outcomes)}


@dataclass(frozen=True, slots=True)
class Slow:
    """Others ask for much and read little of it."""

    connections: int
    scenario: str = "slow"
    ends: bool = False
    writes: bool = False

    @property
    def title(self) -> str:
        """How many."""
        return f"{self.connections} who hardly read"

    def loads(self, traffic: ArchivedTraffic) -> Sequence[Load]:
        """The slow readers."""
        (spec,) = ALL_TOPICS.specs(traffic)
        return [
            SlowReaderLoad(spec, some, OPEN_REQUESTS)
            for some in split(self.connections, CLIENT_PROCESSES)
        ]

    def measures(self, outcomes: Sequence[Outcome]) -> Measures:
        """Nothing of its own: it is the server's memory that tells."""
        return {}


@dataclass(frozen=True, slots=True)
class Storm:
    """Others connect, all at once."""

    connections: int
    scenario: str = "storm"
    ends: bool = True
    writes: bool = False

    @property
    def title(self) -> str:
        """How many."""
        return f"{self.connections} handshakes at once"

    def loads(self, traffic: ArchivedTraffic) -> Sequence[Load]:
        """The callers."""
        return [StormLoad(some) for some in split(self.connections, CLIENT_PROCESSES)]

    def measures(self, outcomes: Sequence[Outcome]) -> Measures:
        """How fast they were let in."""
        return {
            "handshakes": ratio(self.connections, span(outcomes)),
            "handshake_p99": percentile(all_seconds(outcomes), 99) * 1e3,
        }
