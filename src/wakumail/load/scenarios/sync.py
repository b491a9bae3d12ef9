"""Two archives reconcile, without a network between them: what it takes to find the difference."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import median

from wakumail.archive.archive import Archive
from wakumail.archive.datadir import Datadir
from wakumail.load.clients.processes import ClientPool
from wakumail.load.clients.role import LoadFailed
from wakumail.load.measured_server import MeasuredServer
from wakumail.load.measures import Measures, ratio
from wakumail.load.workload.archived_traffic import ArchivedTraffic
from wakumail.mail.sync.initiator import Initiator
from wakumail.mail.sync.responder import answer

REPEATS = 5
"""Reconciliations of one run, after one that warms up. The medians count."""

SCATTERED = 1000
"""The number of envelopes that are lost here and there."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Envelopes that the initiator lacks. lost: their numbers, in some traffic."""

    title: str
    lost: Callable[[ArchivedTraffic], range]


def no_envelopes(traffic: ArchivedTraffic) -> range:
    """Both sides are equal."""
    return range(0)


def one_hour(traffic: ArchivedTraffic) -> range:
    """The envelopes of an hour, in the middle of all days."""
    hour = int(traffic.envelopes / traffic.days / 24)
    return range(traffic.envelopes // 2, traffic.envelopes // 2 + hour)


def scattered(traffic: ArchivedTraffic) -> range:
    """Up to SCATTERED envelopes over all days."""
    return range(0, traffic.envelopes, max(1, traffic.envelopes // SCATTERED))[:SCATTERED]


EQUAL = Loss("equal archives", no_envelopes)
HOUR = Loss("one hour lost", one_hour)
LOSSES = (EQUAL, HOUR, Loss(f"{SCATTERED:,} lost here and there", scattered))


@dataclass(slots=True)
class Reconciled:
    """One reconciliation: its bytes, and the seconds of CPU of either side."""

    sent: int = 0
    received: int = 0
    trips: int = 0
    found: int = 0
    initiator_cpu: float = 0.0
    responder_cpu: float = 0.0


def reconcile(ours: Archive, theirs: Archive) -> Reconciled:
    """Find what `ours` lacks. Each message has a snapshot of its own, as between two servers."""
    done = Reconciled()
    initiator = Initiator()
    begun = time.thread_time()
    with ours.items() as items:
        message: bytes | None = initiator.begin(items)
    done.initiator_cpu += time.thread_time() - begun
    while message is not None:
        done.sent += len(message)
        begun = time.thread_time()
        with theirs.items() as items:
            told = answer(message, items)
        answered = time.thread_time()
        done.responder_cpu += answered - begun
        done.received += len(told)
        with ours.items() as items:
            message = initiator.take(told, items)
        done.initiator_cpu += time.thread_time() - answered
    done.trips = initiator.trips
    done.found = sum(len(wanted.ids) // 32 for wanted in initiator.need)
    return done


def reconciliations(
    server: MeasuredServer, traffic: ArchivedTraffic, lost: range
) -> list[Reconciled]:
    """REPEATS reconciliations; none if the archives of the server are not ours."""
    whole = server.filled(traffic)
    lacking = server.filled(replace(traffic, lost=lost))
    if whole is None or lacking is None:
        return []
    with ExitStack() as stack:
        theirs = stack.enter_context(Archive(Datadir(whole).archive, readonly=True))
        ours = theirs
        if lacking != whole:  # a process opens an archive once
            ours = stack.enter_context(Archive(Datadir(lacking).archive, readonly=True))
        repeats = [reconcile(ours, theirs) for _ in range(REPEATS + 1)]
    if any(each.found != len(lost) for each in repeats):
        raise LoadFailed(f"{repeats[0].found} envelopes were found lacking, not {len(lost)}")
    return repeats[1:]


@dataclass(frozen=True, slots=True)
class ReconcileCase:
    """An archive of `traffic`, and one that has lost some of it and begins."""

    traffic: ArchivedTraffic
    loss: Loss
    scenario: str = "sync"

    @property
    def title(self) -> str:
        """The difference, and the size of the archives."""
        return f"{self.loss.title}, {self.traffic.envelopes:,} envelopes"

    def measure(self, server: MeasuredServer, pool: ClientPool) -> Measures:
        """Reconcile several times; nothing if the server has its own archive."""
        repeats = reconciliations(server, self.traffic, self.loss.lost(self.traffic))
        if not repeats:
            return {}
        return {
            "trips": repeats[0].trips,
            "sent": repeats[0].sent / 1e3,
            "received": repeats[0].received / 1e3,
            "initiator_cpu": 1e3 * median(each.initiator_cpu for each in repeats),
            "responder_cpu": 1e3 * median(each.responder_cpu for each in repeats),
        }


@dataclass(frozen=True, slots=True)
class ReconcileGrowthCase:
    """The same number of envelopes lost of an archive, and of one with a tenth of the envelopes."""

    traffic: ArchivedTraffic
    scenario: str = "sync"

    @property
    def title(self) -> str:
        """The difference, and the sizes of both archives."""
        small, large = self.traffic.envelopes // 10, self.traffic.envelopes
        return f"{len(one_hour(self.traffic)):,} lost in a row: {small:,} to {large:,} envelopes"

    def measure(self, server: MeasuredServer, pool: ClientPool) -> Measures:
        """Compare the CPU of both sides; nothing if the server has its own archive."""
        lost = len(one_hour(self.traffic))
        costs = []
        for traffic in (ArchivedTraffic.of(self.traffic.envelopes // 10), self.traffic):
            middle = traffic.envelopes // 2
            repeats = reconciliations(server, traffic, range(middle, middle + lost))
            if not repeats:
                return {}
            costs.append(median(each.initiator_cpu + each.responder_cpu for each in repeats))
        return {"growth": ratio(costs[1], costs[0])}
