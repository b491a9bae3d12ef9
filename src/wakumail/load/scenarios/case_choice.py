"""Which cases a run has: those that flags choose, or every row of a goal."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from wakumail.load.clients.sender import SenderLoad
from wakumail.load.scenarios.cases import (
    Case,
    GrowthCase,
    IdleCase,
    IngestCase,
    RelayCase,
    RequestCase,
    StartUpCase,
)
from wakumail.load.scenarios.crowd import CrowdCase
from wakumail.load.scenarios.mixed import (
    MixedCase,
    Others,
    bulk_reader,
    senders,
    slow_readers,
    storm,
)
from wakumail.load.scenarios.soak import SoakCase
from wakumail.load.workload.archived_traffic import ArchivedTraffic
from wakumail.load.workload.live_traffic import LiveTraffic
from wakumail.load.workload.request_kinds import (
    ALL_PAGES,
    ALL_TOPICS,
    ALL_TOPICS_BY_8,
    LONG_ABSENCE,
    ONE_TOPIC,
    ONE_TOPIC_BY_8,
    REQUEST_KINDS,
    TEN_TOPICS,
    RequestKind,
)

DEFAULT_ARCHIVE = 1_000_000

CROWD_IDLE = 5000
"""Connections that wait in a crowd; --connections are those that send."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A number to beat: status-go's, measured on a machine like ours, and what we want."""

    metric: str
    incumbent: float
    goal: float


@dataclass(frozen=True, slots=True)
class PlannedCase:
    """A case, and what it has to reach."""

    case: Case
    goals: tuple[Goal, ...] = ()


@dataclass(frozen=True, slots=True)
class CaseChoice:
    """What flags choose; an empty tuple or None leaves it to the scenario."""

    scenarios: Sequence[str]
    live: LiveTraffic = field(default_factory=LiveTraffic)
    connections: Sequence[int] = ()
    counts: Sequence[int] = ()
    batch: int = 100
    confirmed: bool = True
    archive: int = DEFAULT_ARCHIVE
    """Envelopes in the archive of which is asked."""
    seconds: float = 1.5
    """Of requests, in one run; idle connections are watched for ten times as long."""

    def planned_cases(self) -> list[PlannedCase]:
        """The cases of each scenario, in the order of `scenarios`."""
        return [PlannedCase(case) for name in self.scenarios for case in SCENARIOS[name](self)]

    @property
    def archived(self) -> ArchivedTraffic:
        """The traffic in the archive."""
        return ArchivedTraffic.of(self.archive)

    def sizes(self, count: int, connections: int) -> Iterator[tuple[int, int]]:
        """Every pair of a number of envelopes and one of connections; the defaults of a scenario
        stand in for what was not chosen.
        """
        return product(self.counts or (count,), self.connections or (connections,))

    def loads(self, count: int, connections: int) -> list[SenderLoad]:
        """Senders of every size, with the defaults of a scenario."""
        return [
            SenderLoad(self.live, some, over, self.batch, self.confirmed)
            for some, over in self.sizes(count, connections)
        ]

    def mixed_cases(self, others: Iterable[Others]) -> list[Case]:
        """Small requests beside each of these."""
        return [MixedCase(some, self.archived, self.seconds) for some in others]


SCENARIOS: dict[str, Callable[[CaseChoice], Iterable[Case]]] = {
    "ingest": lambda choice: map(IngestCase, choice.loads(100_000, 1)),
    "request": lambda choice: [
        RequestCase(kind, choice.archived, choice.seconds) for kind in REQUEST_KINDS
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
    "soak": lambda choice: [
        SoakCase(load, choice.archived, choice.seconds) for load in choice.loads(10_000, 4)
    ],
}
"""The cases of each scenario: one for each number of envelopes and of connections."""

DEFAULT_SCENARIOS = tuple(name for name in SCENARIOS if name != "soak")
"""A soak takes long: it runs only when it is named."""


def goal_cases(archive: int = DEFAULT_ARCHIVE, seconds: float = 1.5) -> list[PlannedCase]:
    """What status-go's mailserver was measured with, and what we want to reach.

    Two cores of an AMD EPYC, loopback, three runs, medians; envelopes of 538 bytes, an archive of
    1,000,000 over 30 days with 1000 topics.
    """
    live, traffic = LiveTraffic(), ArchivedTraffic.of(archive)
    many = 400_000

    def asked(kind: RequestKind, **goals: tuple[float, float]) -> PlannedCase:
        return with_goals(RequestCase(kind, traffic, seconds), goals)

    return [
        with_goals(
            IngestCase(SenderLoad(live, many)),
            {
                "ingested": (31_200, 150_000),
                "envelope_cpu": (47, 8),
                "peak": (768, 200),
                "disk": (591, 700),
            },
        ),
        with_goals(
            IngestCase(SenderLoad(live, many, connections=4)),
            {"ingested": (14_300, 150_000), "envelope_cpu": (130, 8), "peak": (991, 200)},
        ),
        with_goals(
            IngestCase(SenderLoad(live, 20_000, batch=1)),
            {"ingested": (22_700, 60_000), "envelope_cpu": (52, 20)},
        ),
        with_goals(
            IdleCase(100, live, 50_000, 10 * seconds),
            {"cpu_share": (184, 2)},
        ),
        asked(ONE_TOPIC, p50=(22, 0.5), request_cpu=(24, 0.3)),
        asked(ONE_TOPIC_BY_8, p50=(111, 3), p99=(190, 8)),
        asked(TEN_TOPICS, p50=(25, 1.5), request_cpu=(28, 1)),
        asked(LONG_ABSENCE, p50=(608, 4), request_cpu=(705, 3)),
        asked(ALL_TOPICS, throughput=(95, 250), envelope_cpu=(4.1, 1.7)),
        asked(ALL_TOPICS_BY_8, throughput=(196, 450), envelope_cpu=(3.2, 1.7)),
        asked(ALL_PAGES, p50=(330, 80)),
        with_goals(StartUpCase(traffic), {"start": (0.6, 0.3), "disk": (591, 700)}),
        with_goals(GrowthCase(traffic, seconds), {"growth": (10, 1.3)}),
    ]


def with_goals(case: Case, goals: Mapping[str, tuple[float, float]]) -> PlannedCase:
    """A case with its goals, each: status-go's number, ours."""
    return PlannedCase(case, tuple(Goal(metric, *numbers) for metric, numbers in goals.items()))
