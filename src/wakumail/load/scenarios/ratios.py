"""The CPU of one request against that of another, where their ratio has a goal."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from wakumail.load.clients.processes import ClientPool
from wakumail.load.measured_server import MeasuredServer
from wakumail.load.measures import Measures, ratio
from wakumail.load.scenarios.cases import RequestCase
from wakumail.load.workload.archived_traffic import ArchivedTraffic
from wakumail.load.workload.request_kinds import (
    ABSENT_TOPICS,
    ALL_APART,
    ALL_TOPICS,
    LONG_ABSENCE,
    LONG_ABSENCE_APART,
    ONE_TOPIC,
)


@dataclass(frozen=True, slots=True)
class RatioCase:
    """Two requests, one after the other."""

    title: str
    request: RequestCase
    other: RequestCase
    scenario: str = "ratio"

    def measure(self, server: MeasuredServer, pool: ClientPool) -> Measures:
        """Measure both; nothing if the server has its own archive and theirs differ."""
        if self.request.traffic != self.other.traffic and not server.takes_any_archive:
            return {}
        costs = [case.measure(server, pool) for case in (self.request, self.other)]
        cost, other = (each.get("request_cpu", each["p50"]) for each in costs)
        return {"ratio": ratio(cost, other)}


Ratios: TypeAlias = tuple[float | None, float]
"""The ratio of status-go, if it was measured, and our goal."""


def ratio_cases(traffic: ArchivedTraffic, seconds: float) -> Mapping[RatioCase, Ratios]:
    """The cases, each with its ratios."""
    count = traffic.envelopes
    small = RequestCase(ONE_TOPIC, traffic, seconds)
    tenth = RequestCase(ONE_TOPIC, ArchivedTraffic.of(count // 10), seconds)
    absence = RequestCase(LONG_ABSENCE, traffic, seconds)
    everything = RequestCase(ALL_TOPICS, traffic, seconds)
    many_topics = replace(traffic, topic_count=10 * traffic.topic_count)
    own_topics = replace(traffic, topic_count=count)
    return {
        RatioCase(f"1 topic, 24 h: {count // 10:,} to {count:,}", small, tenth): (10, 1.3),
        RatioCase(
            f"{LONG_ABSENCE.title}: ten times the topics",
            replace(absence, traffic=many_topics),
            absence,
        ): (None, 1.3),
        RatioCase(
            f"{ABSENT_TOPICS.title} of {count:,}, to 1 topic, 24 h",
            RequestCase(ABSENT_TOPICS, own_topics, seconds),
            small,
        ): (None, 7),
        RatioCase(
            f"{ALL_APART.title}, to batch = 1", replace(everything, kind=ALL_APART), everything
        ): (None, 1.3),
        RatioCase(
            f"{LONG_ABSENCE_APART.title}, to batch = 1",
            replace(absence, kind=LONG_ABSENCE_APART),
            absence,
        ): (None, 1.3),
    }
