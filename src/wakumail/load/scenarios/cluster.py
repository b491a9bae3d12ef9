"""The cases of a cluster: three hosts that share a log, and a host that catches up with it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from statistics import fmean

from wakumail.archive.archive import Archive
from wakumail.base.text import counted
from wakumail.load.clients.processes import ClientPool
from wakumail.load.clients.role import LoadFailed, Outcome
from wakumail.load.clients.sender import SenderLoad
from wakumail.load.cluster_log import ClusterLog, OpenLog
from wakumail.load.filled_archives import import_dump, write_dump
from wakumail.load.measured_server import MeasuredServer
from wakumail.load.measures import Measures, percentile, ratio
from wakumail.load.scenarios.cases import MAX_WARM_UP, WARM_UP_SHARE
from wakumail.load.server_process import RunningServer, ServerProcess
from wakumail.load.watch import CORE_COUNT, latencies, rate
from wakumail.load.workload.archived_traffic import ArchivedTraffic

HOSTS = 3

IN_FLIGHT = 8
"""Packets of a host that wait for their confirmation while it is timed; to the log alone as many
messages for each host. A host has as many messages on their way."""

TURNS = 4
"""Times that confirmations are timed, and the log alone."""

TIMED_SHARE = 0.1
"""The share of the envelopes that is sent in a turn, IN_FLIGHT packets at a time; and to the log
alone as many messages as there are packets."""

AWAY_SHARE = 0.2
"""The share of the envelopes that comes while a host is away."""

AWAY_DAYS = 1 / 24
"""Days for which it is away: the envelopes of an hour."""

MESSAGE_ENVELOPES = 100
"""Envelopes of a message that a host catches up with."""

ARRIVAL_TIMEOUT = 300.0
"""Seconds in which all envelopes have to be in an archive."""

ARRIVAL_INTERVAL = 0.05
"""Seconds between two looks at an archive."""


@dataclass(slots=True)
class Fleet:
    """Hosts of one history, with the envelopes that they were sent."""

    hosts: Sequence[RunningServer]
    sent: int = 0

    def send(
        self, load: SenderLoad, taking: int, pool: ClientPool
    ) -> tuple[list[Outcome], list[float]]:
        """Send to the first `taking` hosts, and wait until all hosts have all.

        Returns the outcomes of the senders, and the seconds of CPU of each host.
        """
        warm_up = min(MAX_WARM_UP, int(load.count * WARM_UP_SHARE)) // taking
        part = replace(load, count=load.count // taking, warm_up=warm_up)
        with ExitStack() as stack:
            groups = [
                stack.enter_context(pool.open([part], host.enode)) for host in self.hosts[:taking]
            ]
            self.sent += warm_up * taking
            for group in groups:
                group.prepare()
            self._settle()
            before = self.cpu()
            for group in groups:
                group.start()
            outcomes = [outcome for group in groups for outcome in group.finish()]
            self.sent += part.count * taking
            self._settle()
        return outcomes, [now - then for now, then in zip(self.cpu(), before, strict=True)]

    def cpu(self) -> list[float]:
        """The seconds of CPU that each host has taken."""
        return [host.usage.cpu() for host in self.hosts if host.usage is not None]

    def _settle(self) -> None:
        """Wait until all envelopes are in all archives."""
        for host in self.hosts:
            assert host.datadir is not None
            await_envelopes(host.datadir.archive, self.sent)


@dataclass(frozen=True, slots=True)
class ClusterCase:
    """The load of senders on `taking` hosts of three, and the same on a host alone."""

    load: SenderLoad
    taking: int
    open_log: OpenLog = field(repr=False)
    scenario: str = "cluster"

    @property
    def title(self) -> str:
        """The number of envelopes, and of the hosts that take them."""
        load = self.load
        taking = f"taken by {self.taking} of {counted(HOSTS, 'host')}"
        return f"{load.count:,} envelopes in packets of {load.batch}, {taking}"

    def measure(self, server: MeasuredServer, pool: ClientPool) -> Measures:
        """Load a host alone, then a cluster; time its confirmations, and the log alone."""
        if not server.takes_any_archive:
            return {}
        with server.serving() as running:
            _, (alone,) = Fleet([running]).send(self.load, 1, pool)
        with self.open_log() as log, ExitStack() as stack:
            fleet = Fleet(
                [stack.enter_context(server.serving(flags=log.flags)) for _ in range(HOSTS)]
            )
            before = log.cpu()
            outcomes, each = fleet.send(self.load, self.taking, pool)
            logged = log.cpu() - before
            count = sum(outcome.tally.envelopes for outcome in outcomes)
            total = sum(each) + logged + sum(outcome.cpu for outcome in outcomes)
            return {
                "ingested": rate(outcomes),
                "affordable": ratio(CORE_COUNT * count, total),
                "envelope_cpu": max(each) / count * 1e6,
                "alone_cpu": alone / count * 1e6,
                "added_cpu": (max(each) - alone) / count * 1e6,
                "log_cpu": logged / count * 1e6,
                **self._timed(fleet, log, pool),
            }

    def _timed(self, fleet: Fleet, log: ClusterLog, pool: ClientPool) -> Measures:
        """The time of a confirmation, and that of the log alone, in turn."""
        load = replace(self.load, count=int(self.load.count * TIMED_SHARE), window=IN_FLIGHT)
        size = message_size(load)
        outcomes: list[Outcome] = []
        alone: list[float] = []
        for _ in range(TURNS):
            alone += log.time_alone(size, load.count // load.batch, IN_FLIGHT * self.taking)
            outcomes += fleet.send(load, self.taking, pool)[0]
        found = latencies(outcomes)
        p99 = percentile(alone, 99) * 1e3
        return {
            **found,
            "log_p99": p99,
            "log_distance": ratio(found["p99"], p99),
            # As many are always in flight, so this is their number divided by the time of each.
            "log_rate": load.batch * IN_FLIGHT * self.taking / fmean(alone),
        }


@dataclass(frozen=True, slots=True)
class CatchUpCase:
    """A new host, and then the same after it was away; beside an import of the same envelopes."""

    traffic: ArchivedTraffic
    open_log: OpenLog = field(repr=False)
    scenario: str = "cluster"

    @property
    def title(self) -> str:
        """The number of envelopes."""
        return f"a new host beside {self.traffic.envelopes:,} envelopes"

    def measure(self, server: MeasuredServer, pool: ClientPool) -> Measures:
        """Fill the log, start the host, stop it, write more, and start it again."""
        if not server.takes_any_archive:
            return {}
        traffic = self.traffic
        away = int(traffic.envelopes * AWAY_SHARE)
        with self.open_log() as log:
            dump = log.directory / "dump"
            write_dump(traffic, dump)
            began = time.perf_counter()
            import_dump(log.directory / "imported", dump)
            imported = time.perf_counter() - began
            log.fill(messages(traffic))
            new, cpu, _ = self._follow(log, traffic.envelopes)
            log.fill(messages(replace(traffic, envelopes=away, days=AWAY_DAYS)))
            _, _, behind = self._follow(log, traffic.envelopes + away)
            return {
                "ready": new,
                "import_time": ratio(new, imported),
                "caught_up": ratio(away, behind),
                "envelope_cpu": cpu / traffic.envelopes * 1e6,
            }

    @staticmethod
    def _follow(log: ClusterLog, envelopes: int) -> tuple[float, float, float]:
        """Run the host until it has these; the seconds since its start, its CPU, and the seconds
        since the line that tells that it runs."""
        path = log.directory / "host"
        began = time.perf_counter()
        with ServerProcess(path, log.flags) as process:
            running = process.running
            assert running.datadir is not None
            assert running.usage is not None
            await_envelopes(running.datadir.archive, envelopes)
            seconds = time.perf_counter() - began
            return seconds, running.usage.cpu(), seconds - running.started


def await_envelopes(archive: Path, count: int) -> None:
    """Wait until an archive has as many envelopes. LoadFailed if they do not come in time."""
    deadline = time.monotonic() + ARRIVAL_TIMEOUT
    while True:
        with Archive(archive, readonly=True) as reader:
            found = reader.stat().envelopes
        if found >= count:
            return
        if time.monotonic() > deadline:
            raise LoadFailed(f"{found} of {count} envelopes came")
        time.sleep(ARRIVAL_INTERVAL)


def message_size(load: SenderLoad) -> int:
    """Bytes of a message of one packet."""
    (batch,) = load.live.batches(load.batch, load.batch, 0.0)
    return 1 + sum(map(len, batch))


def messages(traffic: ArchivedTraffic) -> Iterator[bytes]:
    """The envelopes of each message."""
    stream = traffic.stream()
    while joined := b"".join(islice(stream, MESSAGE_ENVELOPES)):
        yield joined
