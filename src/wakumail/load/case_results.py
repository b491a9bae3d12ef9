"""Several runs of every case against every target, in turn."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from wakumail.errors import WakumailError
from wakumail.load.clients.processes import ClientPool
from wakumail.load.clients.role import LoadFailed
from wakumail.load.measured_server import MeasuredServer
from wakumail.load.measures import CLIENT_LIMIT, CORES_LIMIT, METRICS, Measures, Spread, ratio
from wakumail.load.scenarios.goals import PlannedCase


@dataclass(slots=True)
class CaseResult:
    """What one case came to with one target."""

    planned: PlannedCase
    server: str
    runs: list[Measures] = field(default_factory=list)
    failure: str = ""
    """Why there are not more runs."""

    @property
    def keys(self) -> list[str]:
        """The metrics that every run has, in the order of METRICS."""
        return [key for key in METRICS if self.runs and all(key in run for run in self.runs)]

    def spread(self, key: str) -> Spread | None:
        """A metric over all runs; None where it was not measured."""
        return Spread.of([run[key] for run in self.runs]) if key in self.keys else None

    def median(self, key: str) -> float:
        """The median of a metric, 0 where it was not measured."""
        spread = self.spread(key)
        return 0.0 if spread is None else spread.median

    def notes(self) -> Iterator[str]:
        """What has to be known of the numbers."""
        if self.failure:
            yield f"failed: {self.failure}"
        if self.median("client") > CLIENT_LIMIT:
            share = self.median("client")
            yield f"the client took {share:.0f} % of a core: it may be what was measured"
        if self.median("cores") > CORES_LIMIT:
            yield "all cores were busy: what the clients took, the server could have used"
        if "envelopes" in self.keys and not self.median("envelopes"):
            yield "no envelope came: the archive does not hold the traffic of --write-dump"


def measure_cases(
    planned_cases: Sequence[PlannedCase],
    servers: Sequence[MeasuredServer],
    runs: int,
    pool: ClientPool,
    progress: Callable[[str], None],
) -> list[CaseResult]:
    """All results: case by case, and in it target by target.

    A case that fails once is not tried again; the others go on.
    """
    results = []
    for planned in planned_cases:
        case = planned.case
        these = [CaseResult(planned, server.name) for server in servers]
        for number in range(runs):
            for server, result in zip(servers, these, strict=True):
                if result.failure:
                    continue
                progress(
                    f"{case.scenario}: {case.title} ({server.name}, run {number + 1} of {runs})"
                )
                try:
                    result.runs.append(case.measure(server, pool))
                except (LoadFailed, WakumailError, OSError) as error:
                    result.failure = str(error)
                    pool.end_busy()
        results += these
    return results


def compare(one: CaseResult, other: CaseResult) -> dict[str, float]:
    """The ratio of the medians of each metric that both have."""
    common = [key for key in one.keys if key in other.keys]
    return {key: ratio(other.median(key), one.median(key)) for key in common}
