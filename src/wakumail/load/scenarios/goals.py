"""The cases of `wakumail bench --targets`, each with status-go's numbers and our goals."""

from collections.abc import Mapping
from dataclasses import dataclass

from wakumail.load.clients.sender import SenderLoad
from wakumail.load.scenarios.cases import (
    Case,
    IdleCase,
    IngestCase,
    RequestCase,
    StartUpCase,
)
from wakumail.load.scenarios.ratios import ratio_cases
from wakumail.load.workload.archived_traffic import ArchivedTraffic
from wakumail.load.workload.live_traffic import LiveTraffic
from wakumail.load.workload.request_kinds import (
    ALL_PAGES,
    ALL_TOPICS,
    ALL_TOPICS_BY_8,
    LONG_ABSENCE,
    ONE_TOPIC,
    ONE_TOPIC_BY_8,
    TEN_TOPICS,
    RequestKind,
)

DEFAULT_ARCHIVE = 1_000_000


@dataclass(frozen=True, slots=True)
class Goal:
    """A number to reach. `incumbent`: status-go's number, measured on a machine like ours.

    It has none for a goal against the floor.
    """

    metric: str
    incumbent: float | None
    goal: float


@dataclass(frozen=True, slots=True)
class PlannedCase:
    """A case and its goals, if it has any."""

    case: Case
    goals: tuple[Goal, ...] = ()


def goal_cases(archive: int = DEFAULT_ARCHIVE, seconds: float = 1.5) -> list[PlannedCase]:
    """The cases in which status-go's mailserver was measured, with its numbers and our goals.

    Two cores of an AMD EPYC, loopback, three runs, medians; envelopes of 538 bytes, an archive of
    1,000,000 over 30 days with 1000 topics.
    """
    live, traffic = LiveTraffic(), ArchivedTraffic.of(archive)
    many = 400_000

    def asked(kind: RequestKind, **goals: tuple[float | None, float]) -> PlannedCase:
        return with_goals(RequestCase(kind, traffic, seconds), goals)

    return [
        with_goals(
            IngestCase(SenderLoad(live, many)),
            {
                "ingested": (31_200, 150_000),
                "envelope_cpu": (47, 8),
                "distance": (None, 1.4),
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
            {"ingested": (22_700, 60_000), "envelope_cpu": (52, 20), "distance": (None, 2.5)},
        ),
        with_goals(
            IdleCase(100, live, 50_000, 10 * seconds),
            {"cpu_share": (184, 2)},
        ),
        asked(ONE_TOPIC, p50=(22, 0.5), request_cpu=(24, 0.3)),
        asked(ONE_TOPIC_BY_8, p50=(111, 3), p99=(190, 8), distance=(None, 3)),
        asked(TEN_TOPICS, p50=(25, 1.5), request_cpu=(28, 1)),
        asked(LONG_ABSENCE, p50=(608, 4), request_cpu=(705, 3)),
        asked(ALL_TOPICS, throughput=(95, 250), envelope_cpu=(4.1, 1.7)),
        asked(
            ALL_TOPICS_BY_8,
            throughput=(196, 450),
            envelope_cpu=(3.2, 1.7),
            distance=(None, 1.4),
        ),
        asked(ALL_PAGES, p50=(330, 80)),
        with_goals(StartUpCase(traffic), {"start": (0.6, 0.3), "disk": (591, 700)}),
        *(
            with_goals(case, {"ratio": ratios})
            for case, ratios in ratio_cases(traffic, seconds).items()
        ),
    ]


def with_goals(case: Case, goals: Mapping[str, tuple[float | None, float]]) -> PlannedCase:
    """A case with its goals. goals: for each metric, status-go's number and our goal."""
    return PlannedCase(case, tuple(Goal(metric, *numbers) for metric, numbers in goals.items()))
