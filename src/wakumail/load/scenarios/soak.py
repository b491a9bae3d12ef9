"""A long run of mixed load on one server: does anything drift?"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

from wakumail.load.clients.history_reader import HistoryReaderLoad
from wakumail.load.clients.processes import ClientPool, Clients
from wakumail.load.clients.sender import SenderLoad
from wakumail.load.measured_server import MeasuredServer
from wakumail.load.measures import Measures, ratio
from wakumail.load.scenarios.cases import MAX_REQUESTS, sendings
from wakumail.load.watch import Watch, latencies, rate
from wakumail.load.workload.archived_traffic import ArchivedTraffic
from wakumail.load.workload.request_kinds import ALL_PAGES, ONE_TOPIC

ROUND_SECONDS = 2.0
"""Seconds of requests in one round. The senders send once in each round."""

MIN_ROUNDS = 3

PAIRED_ROUNDS = 40
"""Rounds at the end, in turn with a new server: the speed of a shared machine drifts too."""


@dataclass(slots=True)
class ServerRounds:
    """The clients of one server, and the measures of each round."""

    watch: Watch
    senders: Clients
    reader: Clients
    reader_of_all: Clients
    ingested: list[float] = field(default_factory=list)
    """Envelopes per second, in each round."""
    p99: list[float] = field(default_factory=list)
    """Milliseconds, in each round."""
    memory: list[float] = field(default_factory=list)
    """MiB after each round; 0 if the process is not known."""

    def run(self) -> None:
        """Do one round: send all envelopes, and ask beside and after them."""
        self.senders.prepare()
        sent, asked, _ = self.watch.run([self.senders, self.reader, self.reader_of_all])
        self.ingested.append(rate(sent))
        self.p99.append(latencies(asked)["p99"])
        self.memory.append(self.watch.memory().get("resident", 0.0))


@dataclass(frozen=True, slots=True)
class SoakCase:
    """Senders, a client that reads everything and one with small requests, for `seconds`.

    Each round of ROUND_SECONDS sends all envelopes of `load`. The next ones are made after it.
    """

    load: SenderLoad
    traffic: ArchivedTraffic
    seconds: float
    scenario: str = "soak"

    @property
    def title(self) -> str:
        """The length, and the envelopes of a round."""
        return f"{self.seconds:,.0f} s, rounds of {self.load.count:,} envelopes and requests"

    def measure(self, server: MeasuredServer, pool: ClientPool) -> Measures:
        """Soak the server, then compare it with a new one, round by round in turn.

        The memory of the last third of the rounds is compared with that of the first third; the
        p99 with that of the new server, if one can be started.
        """
        with self._rounds(server, pool) as soaked:
            ends = time.monotonic() + self.seconds
            while len(soaked.p99) < MIN_ROUNDS or time.monotonic() < ends:
                soaked.run()
            measures = {
                "ingested": median(soaked.ingested),
                "p99": median(soaked.p99),
                **soaked.watch.memory(),
                **soaked.watch.costs(memory_drift=drift(soaked.memory)),
            }
            if server.takes_any_archive:
                with self._rounds(server, pool) as new:
                    pairs = min(PAIRED_ROUNDS, len(soaked.p99))
                    for _ in range(pairs):
                        soaked.run()
                        new.run()
                    measures["p99_drift"] = ratio(median(soaked.p99[-pairs:]), median(new.p99))
            return measures

    @contextmanager
    def _rounds(self, server: MeasuredServer, pool: ClientPool) -> Iterator[ServerRounds]:
        small, bulk = (
            HistoryReaderLoad(kind.specs(self.traffic), ROUND_SECONDS, MAX_REQUESTS)
            for kind in (ONE_TOPIC, ALL_PAGES)
        )
        with (
            server.serving(self.traffic, writing=True) as running,
            pool.open(sendings(self.load), running.enode) as senders,
            pool.open([small], running.enode) as reader,
            pool.open([bulk], running.enode) as reader_of_all,
        ):
            reader.prepare()
            reader_of_all.prepare()
            yield ServerRounds(Watch(running, []), senders, reader, reader_of_all)


def drift(values: Sequence[float]) -> float:
    """The median of the last third, divided by that of the first third."""
    third = len(values) // 3
    return ratio(median(values[-third:]), median(values[:third]))
