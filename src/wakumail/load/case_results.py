"""Several runs of every case against every server, in turn."""

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
    """The runs of one case against one server."""

    planned: PlannedCase
    server: str
    runs: list[Measures] = field(default_factory=list)
    failure: str = ""
    """The reason why there are no more runs; empty if there is none."""

    @property
    def keys(self) -> list[str]:
        """The metrics that every run has, in the order of METRICS."""
        return [key for key in METRICS if self.runs and all(key in run for run in self.runs)]

    def spread(self, key: str) -> Spread | None:
        """The spread of a metric over all runs; None if it was not measured."""
        return Spread.of([run[key] for run in self.runs]) if key in self.keys else None

    def median(self, key: str) -> float:
        """The median of a metric; 0 if it was not measured."""
        spread = self.spread(key)
        return 0.0 if spread is None else spread.median

    @property
    def held_too_long(self) -> bool:
        """True if a step of the server's loop took longer than it may."""
        return "step_limit" in self.keys and self.median("step") > self.median("step_limit")

    @property
    def kept_out(self) -> bool:
        """True if somebody was not served in one of the runs."""
        return any(run.get("served", 0) < run.get("attempts", 0) for run in self.runs)

    @property
    def bad(self) -> bool:
        """True if it failed, or what it measured may not be."""
        return bool(self.failure) or self.held_too_long or self.kept_out

    def notes(self) -> Iterator[str]:
        """Notes on the numbers: failures, and signs that the clients were the bottleneck."""
        if self.failure:
            yield f"failed: {self.failure}"
        if self.kept_out:
            yield "not every attempt was served"
        if self.held_too_long:
            step, limit = self.median("step"), self.median("step_limit")
            yield f"a step of {step:.0f} ms held the loop, where {limit:.0f} are allowed"
        if self.median("client") > CLIENT_LIMIT:
            share = self.median("client")
            yield f"the client took {share:.0f} % of a core: the numbers may be its own"
        if self.median("cores") > CORES_LIMIT:
            yield "all cores were busy: the clients took CPU that the server could have used"
        if "envelopes" in self.keys and not self.median("envelopes"):
            yield "no envelope came: import the dump of --write-dump into the server's archive"


def measure_cases(
    planned_cases: Sequence[PlannedCase],
    servers: Sequence[MeasuredServer],
    runs: int,
    pool: ClientPool,
    progress: Callable[[str], None],
) -> list[CaseResult]:
    """Run every case `runs` times on every server. The results are in the order of the cases.

    A case that fails on a server is not tried again there; the others go on.
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
    """The median of `other` divided by that of `one`, for each metric that both have."""
    common = [key for key in one.keys if key in other.keys]
    return {key: ratio(other.median(key), one.median(key)) for key in common}
