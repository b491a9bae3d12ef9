"""The scenarios: each says what one run of it is, and what that comes to."""

import math
from dataclasses import dataclass, replace
from typing import Protocol

from wakumail.archive.archive import Archive
from wakumail.load.clients.envelope_listener import Listening
from wakumail.load.clients.history_reader import Asking
from wakumail.load.clients.idle_client import Waiting
from wakumail.load.clients.processes import Crew
from wakumail.load.clients.sender import Sending
from wakumail.load.measured_server import Target
from wakumail.load.measures import Measures, ratio
from wakumail.load.server_process import Served
from wakumail.load.watch import Watch, latencies, throughput
from wakumail.load.workload.archived_traffic import DATA_SIZE, Traffic
from wakumail.load.workload.live_traffic import Live
from wakumail.load.workload.request_kinds import ONE_TOPIC, Row

PROCESSES = 2
"""Client processes that share the connections of one load."""

HEAT = 400_000
"""Envelopes that a run sends at once; those of a longer run are made in between, off the clock."""

WARM_UP = 0.05
"""What part of the envelopes goes before the first that count, up to WARM_UP_MOST."""
WARM_UP_MOST = 2000

REQUESTS = 2000
"""Requests of one client in one run, at most."""

BLOCK_SIZE = 512
"""Bytes of a block, as stat(2) counts them."""


class Case(Protocol):
    """A scenario with its parameters."""

    @property
    def scenario(self) -> str:
        """The scenario's name."""

    @property
    def title(self) -> str:
        """What is measured, for a person."""

    def measure(self, target: Target, crew: Crew) -> Measures:
        """One run. LoadFailed when it does not come to its end."""


def plural(count: int, noun: str) -> str:
    """A number and what it counts."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def split(count: int, parts: int) -> list[int]:
    """`count` in at most so many parts, none of them empty."""
    share, rest = divmod(count, parts)
    return [size for number in range(parts) if (size := share + (number < rest))]


def sendings(load: Sending) -> list[Sending]:
    """The same load for several processes, each with an envelope to send at least."""
    connections = split(load.connections, min(PROCESSES, load.count))
    counts = split(load.count, len(connections))
    warm_up = load.warm_up // len(connections)
    return [
        replace(load, connections=some, count=count, warm_up=warm_up)
        for some, count in zip(connections, counts, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Ingest:
    """Envelopes into a new archive."""

    load: Sending
    scenario: str = "ingest"

    @property
    def title(self) -> str:
        """Its parameters."""
        load, live = self.load, self.load.live
        words = [
            f"{load.count:,} envelopes in packets of {load.batch}",
            plural(load.connections, "connection"),
        ]
        if live.data_size != DATA_SIZE:
            words.append(f"{live.data_size} bytes of data")
        if live.duplicates:
            words.append(f"{live.duplicates:.0%} duplicates")
        if not load.confirmed:
            words.append("unconfirmed")
        return ", ".join(words)

    def measure(self, target: Target, crew: Crew) -> Measures:
        """Send, in heats where it is much."""
        heats = math.ceil(self.load.count / HEAT)
        warm_up = min(WARM_UP_MOST, int(self.load.count * WARM_UP))
        load = replace(self.load, count=self.load.count // heats, warm_up=warm_up)
        with target.serving() as served, crew.open(sendings(load), served.enode) as gang:
            watch = Watch(served, [])
            for _ in range(heats):
                gang.prepare()
                watch.run([gang])
                if not load.confirmed:
                    watch.settle()
            return {
                "ingested": ratio(watch.envelopes, watch.wall),
                **watch.costs(envelope_cpu=watch.per(watch.envelopes, 1e-6)),
                **watch.server(),
                **watch.load(),
                **disk(served),
            }


def disk(served: Served) -> dict[str, float]:
    """Bytes of the archive's file for each envelope in it."""
    if served.datadir is None:
        return {}
    path = served.datadir.archive
    with Archive(path, readonly=True) as archive:
        envelopes = archive.stat().envelopes
    size = sum(file.stat().st_blocks * BLOCK_SIZE for file in path.iterdir())
    return {"disk": ratio(size, envelopes)}


@dataclass(frozen=True, slots=True)
class Requests:
    """One kind of request of an archive, by one client or several at once."""

    row: Row
    traffic: Traffic
    seconds: float
    scenario: str = "request"

    @property
    def title(self) -> str:
        """The kind of request, and how many send it."""
        return f"{self.row.name}, {plural(self.row.clients, 'client')}"

    def measure(self, target: Target, crew: Crew) -> Measures:
        """Ask."""
        loads = [Asking(self.row.asks(self.traffic), self.seconds, REQUESTS)] * self.row.clients
        with target.serving(self.traffic) as served, crew.open(loads, served.enode) as gang:
            gang.prepare()
            watch = Watch(served, [])
            (outcomes,) = watch.run([gang])
            count = len(watch.seconds)
            return {
                "throughput": throughput(outcomes),
                "envelopes": ratio(watch.envelopes, count),
                **latencies(outcomes),
                **watch.costs(
                    envelope_cpu=watch.per(watch.envelopes, 1e-6),
                    request_cpu=watch.per(count, 1e-3),
                ),
                **watch.server(),
                **watch.load(),
            }


@dataclass(frozen=True, slots=True)
class Growth:
    """The same request of an archive and of one a tenth as large."""

    traffic: Traffic
    seconds: float
    row: Row = ONE_TOPIC
    scenario: str = "growth"

    @property
    def title(self) -> str:
        """From how many to how many."""
        return f"{self.row.name}: {self.traffic.envelopes // 10:,} to {self.traffic.envelopes:,}"

    def measure(self, target: Target, crew: Crew) -> Measures:
        """The small one, then the large one; nothing of a server that has its own archive."""
        if not target.has_archives:
            return {}
        small = Traffic.of(self.traffic.envelopes // 10)
        costs = [
            Requests(self.row, traffic, self.seconds).measure(target, crew)
            for traffic in (small, self.traffic)
        ]
        before, after = (cost.get("request_cpu", cost["p50"]) for cost in costs)
        return {"growth": ratio(after, before)}


@dataclass(frozen=True, slots=True)
class StartUp:
    """A server over an archive, until it says where it listens; and what the archive takes."""

    traffic: Traffic
    scenario: str = "start-up"

    @property
    def title(self) -> str:
        """How large the archive is."""
        return f"with {self.traffic.envelopes:,} envelopes"

    def measure(self, target: Target, crew: Crew) -> Measures:
        """Start it; nothing is known of a server that runs already."""
        if not target.has_archives:
            return {}
        with target.serving(self.traffic) as served:
            return {"start": served.started, **disk(served)}


@dataclass(frozen=True, slots=True)
class Relay:
    """Envelopes from one connection to many."""

    live: Live
    count: int
    listeners: int
    scenario: str = "relay"

    @property
    def title(self) -> str:
        """How many, to how many."""
        return f"{self.count:,} envelopes, 1 in, {self.listeners} out"

    def measure(self, target: Target, crew: Crew) -> Measures:
        """Twice: what comes first warms the server up."""
        size = len(next(self.live.batches(1, 1, 0.0))[0])
        sending = [Sending(self.live, self.count)]
        listening = [Listening(some, self.count, size) for some in split(self.listeners, PROCESSES)]
        with (
            target.serving() as served,
            crew.open(sending, served.enode) as sender,
            crew.open(listening, served.enode) as listeners,
        ):
            for _ in range(2):
                watch = Watch(served, [])
                sender.prepare()
                listeners.prepare()
                _, heard = watch.run([sender, listeners])
            delivered = sum(outcome.tally.envelopes for outcome in heard)
            return {
                "delivered": ratio(delivered, watch.wall),
                **watch.costs(envelope_cpu=watch.per(delivered, 1e-6)),
                **watch.server(),
                **watch.load(),
            }


@dataclass(frozen=True, slots=True)
class Idle:
    """Many connections on which nothing happens, beside live envelopes that they do not want."""

    connections: int
    live: Live
    count: int
    seconds: float
    scenario: str = "idle"

    @property
    def title(self) -> str:
        """How many, and beside what."""
        beside = f" beside {self.count:,} live envelopes" if self.count else ""
        return f"{self.connections:,} connections{beside}"

    def measure(self, target: Target, crew: Crew) -> Measures:
        """Memory before and after they connect, then the CPU of some seconds."""
        waiting = [Waiting(some, self.seconds) for some in split(self.connections, PROCESSES)]
        with target.serving() as served:
            if self.count:
                send(crew, served, Sending(self.live, self.count))
            memory = served.account.resident() if served.account else 0
            with crew.open(waiting, served.enode) as gang:
                watch = Watch(served, [])
                watch.settle()
                taken = served.account.resident() - memory if served.account else 0
                watch.cpu = 0.0
                watch.run([gang])
                return watch.costs(
                    cpu_share=100 * ratio(watch.cpu, watch.wall),
                    connection_memory=taken / self.connections / 1024,
                )


def send(crew: Crew, served: Served, load: Sending) -> None:
    """Send these, and wait until they are confirmed."""
    with crew.open([load], served.enode) as gang:
        gang.prepare()
        gang.run()
