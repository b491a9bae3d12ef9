"""The scenarios with two kinds of clients: small requests without others, then beside others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wakumail.base.text import counted
from wakumail.load.clients.blocking_connection import LOAD_TIMEOUT
from wakumail.load.clients.history_reader import HistoryReaderLoad
from wakumail.load.clients.processes import ClientPool
from wakumail.load.clients.role import Load, Outcome
from wakumail.load.clients.sender import SenderLoad
from wakumail.load.clients.slow_reader import SlowReaderLoad
from wakumail.load.clients.storm_client import StormLoad
from wakumail.load.measured_server import MeasuredServer
from wakumail.load.measures import Measures, percentile, ratio
from wakumail.load.scenarios.cases import (
    CLIENT_PROCESSES,
    MAX_REQUESTS,
    UNLIMITED_REQUESTS,
    measure_alone,
    sendings,
    slowdown,
    split,
)
from wakumail.load.watch import Watch, all_seconds, rate, span, throughput
from wakumail.load.workload.archived_traffic import ArchivedTraffic
from wakumail.load.workload.request_kinds import ALL_PAGES, ALL_TOPICS, ONE_TOPIC

OPEN_REQUESTS = 4
"""Requests that one slow reader has open."""


@dataclass(frozen=True, slots=True)
class Others:
    """The clients beside the small requests. The functions below make one each."""

    scenario: str
    title: str
    loads: Sequence[Load]
    measures: Callable[[Sequence[Outcome]], Measures]
    """Computes measures from the outcomes of these clients."""
    end_by_themselves: bool = False
    write: bool = False
    """True if they write into the archive."""


@dataclass(frozen=True, slots=True)
class MixedCase:
    """One client that asks for one topic of a day, without others and then beside them.

    seconds: length of the requests without others, and beside others that do not end.
    """

    others: Others
    traffic: ArchivedTraffic
    seconds: float

    @property
    def scenario(self) -> str:
        """The scenario of the others."""
        return self.others.scenario

    @property
    def title(self) -> str:
        """The request, and the others."""
        return f"{ONE_TOPIC.title}, beside {self.others.title}"

    def measure(self, server: MeasuredServer, pool: ClientPool) -> Measures:
        """Ask without others; then beside them, until they end or the seconds are over."""
        others = self.others
        specs = ONE_TOPIC.specs(self.traffic)
        if others.end_by_themselves:
            beside = HistoryReaderLoad(specs, LOAD_TIMEOUT, UNLIMITED_REQUESTS)
        else:
            beside = HistoryReaderLoad(specs, self.seconds, MAX_REQUESTS)
        with server.serving(self.traffic, writing=others.write) as running:
            quiet = measure_alone(specs, self.seconds, running, pool)
            with (
                pool.open([beside], running.enode) as reader,
                pool.open(others.loads, running.enode) as crowd,
            ):
                reader.prepare()
                crowd.prepare()
                watch = Watch(running, [])
                first, then = (crowd, reader) if others.end_by_themselves else (reader, crowd)
                results = watch.run([first], background=[then])
                busy, crowded = reversed(results) if others.end_by_themselves else results
                return {
                    **slowdown(quiet, busy),
                    **others.measures(crowded),
                    **watch.memory(),
                    **watch.bottleneck(results[-1]),
                }


def senders(load: SenderLoad) -> Others:
    """Others send envelopes."""
    title = f"{load.count:,} envelopes from {counted(load.connections, 'sender')}"
    return Others(
        "mixed",
        title,
        sendings(load),
        lambda outcomes: {"ingested": rate(outcomes)},
        end_by_themselves=True,
        write=True,
    )


def bulk_reader(traffic: ArchivedTraffic) -> Others:
    """One other reads a whole day again and again."""
    return Others(
        "fairness",
        "a client that reads everything",
        [HistoryReaderLoad(ALL_PAGES.specs(traffic), LOAD_TIMEOUT, UNLIMITED_REQUESTS)],
        lambda outcomes: {"throughput": throughput(outcomes)},
    )


def slow_readers(connections: int, traffic: ArchivedTraffic) -> Others:
    """Others ask for much and read little of it. The server's memory shows the cost."""
    (spec,) = ALL_TOPICS.specs(traffic)
    loads = [
        SlowReaderLoad(spec, some, OPEN_REQUESTS) for some in split(connections, CLIENT_PROCESSES)
    ]
    return Others("slow", f"{connections} slow readers", loads, lambda outcomes: {})


def storm(connections: int) -> Others:
    """Others connect, all at once."""

    def measures(outcomes: Sequence[Outcome]) -> Measures:
        return {
            "handshakes": ratio(connections, span(outcomes)),
            "handshake_p99": percentile(all_seconds(outcomes), 99) * 1e3,
        }

    return Others(
        "storm",
        f"{connections} handshakes at once",
        [StormLoad(some) for some in split(connections, CLIENT_PROCESSES)],
        measures,
        end_by_themselves=True,
    )
