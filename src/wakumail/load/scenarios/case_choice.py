"""The cases that flags choose."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

from wakumail.load.clients.sender import SenderLoad
from wakumail.load.cluster_log import OpenLog, no_log
from wakumail.load.scenarios.attacks import attack_cases
from wakumail.load.scenarios.cases import (
    Case,
    IdleCase,
    IngestCase,
    RelayCase,
    RequestCase,
)
from wakumail.load.scenarios.cluster import HOSTS, CatchUpCase, ClusterCase
from wakumail.load.scenarios.cold import COLD_KINDS, ColdCase
from wakumail.load.scenarios.crowd import CrowdCase
from wakumail.load.scenarios.discovery import DiscoveryCase
from wakumail.load.scenarios.goals import DEFAULT_ARCHIVE, PlannedCase
from wakumail.load.scenarios.mixed import (
    MixedCase,
    Others,
    bulk_reader,
    senders,
    slow_readers,
    storm,
)
from wakumail.load.scenarios.ratios import ratio_cases
from wakumail.load.scenarios.soak import SoakCase
from wakumail.load.scenarios.steps import steps_cases
from wakumail.load.scenarios.sync import LOSSES, ReconcileCase, ReconcileGrowthCase
from wakumail.load.scenarios.transfer import TransferCase
from wakumail.load.workload.archived_traffic import ArchivedTraffic
from wakumail.load.workload.live_traffic import LiveTraffic
from wakumail.load.workload.request_kinds import REQUEST_KINDS, RequestKind

CROWD_IDLE = 5000
"""Idle connections in a crowd. `--connections` is the number of those that send."""

FLOOD = 20_000
"""Datagrams per second of a flood."""


@dataclass(frozen=True, slots=True)
class CaseChoice:
    """The choices that flags make. An empty sequence: the default of each scenario."""

    scenarios: Sequence[str]
    live: LiveTraffic = field(default_factory=LiveTraffic)
    connections: Sequence[int] = ()
    counts: Sequence[int] = ()
    requests: Sequence[RequestKind] = REQUEST_KINDS
    batch: int = 100
    confirmed: bool = True
    archive: int = DEFAULT_ARCHIVE
    """Envelopes in the archive that is asked."""
    seconds: float = 1.5
    """Length of the requests in one run. Idle connections are watched ten times as long."""
    open_log: OpenLog = no_log

    def planned_cases(self) -> list[PlannedCase]:
        """The cases of each scenario, in the order of `scenarios`."""
        return [PlannedCase(case) for name in self.scenarios for case in SCENARIOS[name](self)]

    @property
    def archived(self) -> ArchivedTraffic:
        """The traffic in the archive."""
        return ArchivedTraffic.of(self.archive)

    def sizes(self, count: int, connections: int) -> Iterator[tuple[int, int]]:
        """Every pair of a number of envelopes and a number of connections.

        The arguments are the defaults of a scenario, for those that were not chosen.
        """
        return product(self.counts or (count,), self.connections or (connections,))

    def loads(self, count: int, connections: int) -> list[SenderLoad]:
        """The loads of senders, one for each of `sizes`."""
        return [
            SenderLoad(self.live, some, over, self.batch, self.confirmed)
            for some, over in self.sizes(count, connections)
        ]

    def mixed_cases(self, others: Iterable[Others]) -> list[Case]:
        """A case of small requests beside each of these clients."""
        return [MixedCase(some, self.archived, self.seconds) for some in others]


SCENARIOS: dict[str, Callable[[CaseChoice], Iterable[Case]]] = {
    "ingest": lambda choice: map(IngestCase, choice.loads(100_000, 1)),
    "request": lambda choice: [
        RequestCase(kind, choice.archived, choice.seconds) for kind in choice.requests
    ],
    "relay": lambda choice: [
        RelayCase(choice.live, count, listeners) for count, listeners in choice.sizes(10_000, 20)
    ],
    "mixed": lambda choice: choice.mixed_cases(map(senders, choice.loads(100_000, 1))),
    "slow": lambda choice: choice.mixed_cases(
        slow_readers(number, choice.archived) for number in choice.connections or (20,)
    ),
    "storm": lambda choice: choice.mixed_cases(map(storm, choice.connections or (500,))),
    "idle": lambda choice: [
        IdleCase(connections, choice.live, count, 10 * choice.seconds)
        for count, connections in choice.sizes(0, 1000)
    ],
    "crowd": lambda choice: [
        CrowdCase(CROWD_IDLE, load, choice.archived, choice.seconds)
        for load in choice.loads(100_000, 500)
    ],
    "fairness": lambda choice: choice.mixed_cases([bulk_reader(choice.archived)]),
    "sync": lambda choice: [
        *(ReconcileCase(choice.archived, loss) for loss in LOSSES),
        ReconcileGrowthCase(choice.archived),
        TransferCase(choice.archived),
    ],
    "ratio": lambda choice: ratio_cases(choice.archived, choice.seconds),
    "cold": lambda choice: [ColdCase(kind, choice.archived) for kind in COLD_KINDS],
    "discovery": lambda choice: [DiscoveryCase(FLOOD, choice.archived, choice.seconds)],
    "attacks": lambda choice: attack_cases(choice.archived, choice.seconds),
    "steps": lambda choice: steps_cases(choice.archived),
    "cluster": lambda choice: [
        *(
            ClusterCase(load, taking, choice.open_log)
            for load in choice.loads(100_000, 1)
            for taking in (1, HOSTS)
        ),
        CatchUpCase(choice.archived, choice.open_log),
    ],
    "soak": lambda choice: [
        SoakCase(load, choice.archived, choice.seconds) for load in choice.loads(10_000, 4)
    ],
}
"""Makes the cases of each scenario: one for each number of envelopes and of connections."""

LONG_SCENARIOS = ("attacks", "steps", "cluster", "soak")
"""These run only when they are named: they take minutes."""

DEFAULT_SCENARIOS = tuple(name for name in SCENARIOS if name not in LONG_SCENARIOS)
