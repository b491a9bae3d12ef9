"""The scenarios with one kind of client. Each class does one run, and computes its measures."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from wakumail.archive.archive import Archive
from wakumail.archive.datadir import Datadir
from wakumail.base.text import counted
from wakumail.load.clients.envelope_listener import EnvelopeListenerLoad
from wakumail.load.clients.history_reader import HistoryReaderLoad
from wakumail.load.clients.idle_client import IdleLoad
from wakumail.load.clients.processes import ClientPool, Clients
from wakumail.load.clients.role import Outcome
from wakumail.load.clients.sender import SenderLoad
from wakumail.load.floor.ingest import ingest_floor
from wakumail.load.floor.requests import request_floor
from wakumail.load.measured_server import MeasuredServer
from wakumail.load.measures import Measures, ratio
from wakumail.load.server_process import RunningServer
from wakumail.load.watch import Watch, latencies, throughput
from wakumail.load.workload.archived_traffic import DATA_SIZE, ArchivedTraffic
from wakumail.load.workload.live_traffic import LiveTraffic
from wakumail.load.workload.request_kinds import RequestKind, RequestSpec

CLIENT_PROCESSES = 2
"""The number of client processes that share the connections of one load."""

ROUND_ENVELOPES = 400_000
"""Envelopes that are made before they are sent. A longer run has several rounds; the time in which
their envelopes are made does not count."""

WARM_UP_SHARE = 0.05
"""The share of the envelopes that is sent before the first that count, up to MAX_WARM_UP."""
MAX_WARM_UP = 2000

MAX_REQUESTS = 2000
"""The largest number of requests of one client in one run."""
UNLIMITED_REQUESTS = 1 << 30

STAT_BLOCK = 512
"""Bytes in a block of stat(2)."""


class Case(Protocol):
    """A scenario with its parameters."""

    @property
    def scenario(self) -> str:
        """The scenario's name."""

    @property
    def title(self) -> str:
        """A description of the case, for a report."""

    def measure(self, server: MeasuredServer, pool: ClientPool) -> Measures:
        """Do one run. LoadFailed if it does not finish."""


def split(count: int, parts: int) -> list[int]:
    """Split `count` into at most `parts` numbers, none of them 0."""
    share, rest = divmod(count, parts)
    return [size for number in range(parts) if (size := share + (number < rest))]


def sendings(load: SenderLoad) -> list[SenderLoad]:
    """The same load, split over several processes. Each sends one envelope at least."""
    connections = split(load.connections, min(CLIENT_PROCESSES, load.count))
    counts = split(load.count, len(connections))
    warm_up = load.warm_up // len(connections)
    return [
        replace(load, connections=some, count=count, warm_up=warm_up)
        for some, count in zip(connections, counts, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class IngestCase:
    """Envelopes into a new archive."""

    load: SenderLoad
    scenario: str = "ingest"

    @property
    def title(self) -> str:
        """The number of envelopes and connections, and all that is not the default."""
        load, live = self.load, self.load.live
        words = [
            f"{load.count:,} envelopes in packets of {load.batch}",
            counted(load.connections, "connection"),
        ]
        if live.data_size != DATA_SIZE:
            words.append(f"{live.data_size} bytes of data")
        if live.duplicates:
            words.append(f"{live.duplicates:.0%} duplicates")
        if not load.confirmed:
            words.append("unconfirmed")
        return ", ".join(words)

    def measure(self, server: MeasuredServer, pool: ClientPool) -> Measures:
        """Send all envelopes, in several rounds if there are more than ROUND_ENVELOPES."""
        rounds = math.ceil(self.load.count / ROUND_ENVELOPES)
        warm_up = min(MAX_WARM_UP, int(self.load.count * WARM_UP_SHARE))
        load = replace(self.load, count=self.load.count // rounds, warm_up=warm_up)
        with server.serving() as running, pool.open(sendings(load), running.enode) as clients:
            watch = Watch(running, [])
            for _ in range(rounds):
                clients.prepare()
                watch.run([clients])
                if not load.confirmed:
                    watch.settle()
            return {
                "ingested": ratio(watch.envelopes, watch.wall),
                **watch.costs(envelope_cpu=watch.per(watch.envelopes, 1e-6)),
                **self._floor(watch, load),
                **watch.memory(),
                **watch.bottleneck(),
                **disk(running),
            }

    @staticmethod
    def _floor(watch: Watch, load: SenderLoad) -> dict[str, float]:
        """The floor of one round, for a server of our own."""
        if watch.running.datadir is None:
            return {}
        floor = ingest_floor(load, watch.running.datadir.path)
        return {"envelope_floor": floor * 1e6, **watch.distance(watch.envelopes, floor)}


def disk(running: RunningServer) -> dict[str, float]:
    """Bytes on disk for each envelope in the archive; nothing if its directory is not known.

    Those of free pages among them, which later commits fill.
    """
    if running.datadir is None:
        return {}
    path = running.datadir.archive
    with Archive(path, readonly=True) as archive:
        stat = archive.stat()
    size = sum(file.stat().st_blocks * STAT_BLOCK for file in path.iterdir())
    return {
        "disk": ratio(size, stat.envelopes),
        "disk_free": ratio(stat.free_bytes, stat.envelopes),
    }


@dataclass(frozen=True, slots=True)
class RequestCase:
    """One kind of request of an archive, by one client or several at once."""

    kind: RequestKind
    traffic: ArchivedTraffic
    seconds: float
    scenario: str = "request"

    @property
    def title(self) -> str:
        """The kind of request, and the number of clients."""
        return f"{self.kind.title}, {counted(self.kind.clients, 'client')}"

    def measure(self, server: MeasuredServer, pool: ClientPool) -> Measures:
        """Send requests until `seconds` are over."""
        loads = [
            HistoryReaderLoad(self.kind.specs(self.traffic), self.seconds, MAX_REQUESTS)
        ] * self.kind.clients
        with server.serving(self.traffic) as running, pool.open(loads, running.enode) as clients:
            clients.prepare()
            watch = Watch(running, [])
            (outcomes,) = watch.run([clients])
            count = len(watch.seconds)
            return {
                "throughput": throughput(outcomes),
                "envelopes": ratio(watch.envelopes, count),
                **latencies(outcomes),
                **watch.costs(
                    envelope_cpu=watch.per(watch.envelopes, 1e-6),
                    request_cpu=watch.per(count, 1e-3),
                ),
                **self._floor(watch, running.datadir),
                **watch.memory(),
                **watch.bottleneck(),
            }

    def _floor(self, watch: Watch, datadir: Datadir | None) -> dict[str, float]:
        """The floor of these requests, for a server of our own."""
        if datadir is None:
            return {}
        floor = request_floor(self.kind.specs(self.traffic), datadir.archive, self.seconds)
        return {"request_floor": floor * 1e3, **watch.distance(len(watch.seconds), floor)}


@dataclass(frozen=True, slots=True)
class StartUpCase:
    """The start of a server with an archive, until it listens; and the archive's size on disk."""

    traffic: ArchivedTraffic
    scenario: str = "start-up"

    @property
    def title(self) -> str:
        """The size of the archive."""
        return f"with {self.traffic.envelopes:,} envelopes"

    def measure(self, server: MeasuredServer, pool: ClientPool) -> Measures:
        """Start the server; nothing is measured if it runs already."""
        if not server.takes_any_archive:
            return {}
        with server.serving(self.traffic) as running:
            return {"start": running.started, **disk(running)}


@dataclass(frozen=True, slots=True)
class RelayCase:
    """Envelopes from one connection to many."""

    live: LiveTraffic
    count: int
    listeners: int
    scenario: str = "relay"

    @property
    def title(self) -> str:
        """The number of envelopes, and of connections."""
        return f"{self.count:,} envelopes, 1 in, {self.listeners} out"

    def measure(self, server: MeasuredServer, pool: ClientPool) -> Measures:
        """Relay all envelopes twice. The first time warms the server up and does not count."""
        size = len(next(self.live.batches(1, 1, 0.0))[0])
        sending = [SenderLoad(self.live, self.count)]
        listening = [
            EnvelopeListenerLoad(some, self.count, size)
            for some in split(self.listeners, CLIENT_PROCESSES)
        ]
        with (
            server.serving() as running,
            pool.open(sending, running.enode) as sender,
            pool.open(listening, running.enode) as listeners,
        ):
            for _ in range(2):
                watch = Watch(running, [])
                sender.prepare()
                listeners.prepare()
                _, heard = watch.run([sender, listeners])
            delivered = sum(outcome.tally.envelopes for outcome in heard)
            return {
                "delivered": ratio(delivered, watch.wall),
                **watch.costs(envelope_cpu=watch.per(delivered, 1e-6)),
                **watch.memory(),
                **watch.bottleneck(),
            }


@dataclass(frozen=True, slots=True)
class IdleCase:
    """Many connections on which nothing happens, beside live envelopes that they do not want."""

    connections: int
    live: LiveTraffic
    count: int
    seconds: float
    scenario: str = "idle"

    @property
    def title(self) -> str:
        """The number of connections, and of live envelopes."""
        beside = f" beside {self.count:,} live envelopes" if self.count else ""
        return f"{self.connections:,} connections{beside}"

    def measure(self, server: MeasuredServer, pool: ClientPool) -> Measures:
        """Send the live envelopes, then connect and wait."""
        with server.serving() as running:
            if self.count:
                with pool.open([SenderLoad(self.live, self.count)], running.enode) as sender:
                    sender.prepare()
                    sender.run()
            with idle_clients(self.connections, self.seconds, running, pool) as (_, costs):
                return costs


@contextmanager
def idle_clients(
    connections: int, seconds: float, running: RunningServer, pool: ClientPool
) -> Iterator[tuple[Clients, Measures]]:
    """Clients that keep `connections` open, and their cost: memory, and CPU over `seconds`."""
    loads = [IdleLoad(some, seconds) for some in split(connections, CLIENT_PROCESSES)]
    memory = running.usage.resident() if running.usage else 0
    with pool.open(loads, running.enode) as clients:
        watch = Watch(running, [])
        watch.settle()
        taken = running.usage.resident() - memory if running.usage else 0
        watch.cpu = 0.0
        watch.run([clients])
        yield (
            clients,
            watch.costs(
                cpu_share=100 * ratio(watch.cpu, watch.wall),
                connection_memory=taken / connections / 1024,
            ),
        )


def measure_alone(
    specs: Sequence[RequestSpec], seconds: float, running: RunningServer, pool: ClientPool
) -> list[Outcome]:
    """One client that asks for `seconds`, with no other clients."""
    load = HistoryReaderLoad(specs, seconds, MAX_REQUESTS)
    with pool.open([load], running.enode) as reader:
        reader.prepare()
        (outcomes,) = Watch(running, []).run([reader])
        return outcomes


def slowdown(alone: Sequence[Outcome], beside: Sequence[Outcome]) -> Measures:
    """Latencies of requests beside other clients, compared with those alone."""
    before, during = latencies(alone), latencies(beside)
    return {
        **during,
        "p99_alone": before["p99"],
        "slowdown": ratio(during["p99"], before["p99"]),
    }
