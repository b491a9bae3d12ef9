"""One run of the clients against one server, and its cost to both."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from wakumail.load.clients.processes import Clients
from wakumail.load.clients.role import Outcome
from wakumail.load.measures import percentile, ratio
from wakumail.load.server_process import RunningServer

CORE_COUNT = len(os.sched_getaffinity(0))
MIB = 1 << 20

SETTLE_INTERVAL = 0.1
"""Seconds. A server has settled if it takes less CPU in them than SETTLED_CPU seconds."""
SETTLED_CPU = 0.005
SETTLE_LIMIT = 5.0


@dataclass(slots=True)
class Watch:
    """The work of the clients, and the time and CPU that it took. Several runs add up."""

    running: RunningServer
    outcomes: list[Outcome]
    wall: float = 0.0
    """Seconds from the start of the first client to the end of the last."""
    cpu: float = 0.0
    """Seconds of the server's CPU."""

    def run(
        self, groups: Sequence[Clients], background: Sequence[Clients] = ()
    ) -> list[list[Outcome]]:
        """Run until all of `groups` have finished; then stop those in the `background`.

        Returns the outcomes of each group, in order. Only those of `groups` are counted here.
        """
        cpu = self._cpu()
        for group in (*background, *groups):
            group.start()
        finished = [group.finish() for group in groups]
        cpu = self._cpu() - cpu
        for group in background:
            group.stop()
        counted = [outcome for outcomes in finished for outcome in outcomes]
        self.outcomes += counted
        self.wall += span(counted)
        self.cpu += cpu
        return [*finished, *(group.finish() for group in background)]

    def settle(self) -> None:
        """Wait until the server is idle, and count the CPU of that time."""
        usage = self.running.usage
        if usage is None:
            return
        before, limit = usage.cpu(), time.monotonic() + SETTLE_LIMIT
        while time.monotonic() < limit:
            time.sleep(SETTLE_INTERVAL)
            now = usage.cpu()
            self.cpu += now - before
            if now - before < SETTLED_CPU:
                return
            before = now

    @property
    def envelopes(self) -> int:
        """The number of envelopes that all clients sent or received."""
        return sum(outcome.tally.envelopes for outcome in self.outcomes)

    @property
    def seconds(self) -> list[float]:
        """The time of each request, or of each connection."""
        return all_seconds(self.outcomes)

    def per(self, count: int, unit: float) -> float:
        """The server's CPU for each of `count` things. `unit`: seconds, as 1e-6 for us."""
        return ratio(self.cpu, count) / unit

    def memory(self) -> dict[str, float]:
        """The metrics of the server's memory; none if its process is not known."""
        usage = self.running.usage
        if usage is None:
            return {}
        return {"peak": usage.peak() / MIB, "resident": usage.resident() / MIB}

    def costs(self, **metrics: float) -> dict[str, float]:
        """These metrics of the server's CPU; none if its process is not known."""
        return {} if self.running.usage is None else metrics

    def distance(self, count: int, floor: float) -> dict[str, float]:
        """The metric of the server's CPU for each of `count` things, against a floor in seconds."""
        return self.costs(distance=ratio(self.per(count, 1.0), floor))

    def bottleneck(self, others: Sequence[Outcome] = ()) -> dict[str, float]:
        """The metrics that show the bottleneck. `others`: outcomes of more clients."""
        clients = [*self.outcomes, *others]
        shares = [ratio(client.cpu, client.ended - client.began) for client in clients]
        cores = 100 * ratio(self.cpu / self.wall + sum(shares), CORE_COUNT)
        return {"client": 100 * max(shares)} | self.costs(cores=cores)

    def _cpu(self) -> float:
        usage = self.running.usage
        return 0.0 if usage is None else usage.cpu()


def span(outcomes: Sequence[Outcome]) -> float:
    """Seconds from the first start to the last end."""
    return max(o.ended for o in outcomes) - min(o.began for o in outcomes)


def rate(outcomes: Sequence[Outcome]) -> float:
    """Envelopes per second."""
    return ratio(sum(outcome.tally.envelopes for outcome in outcomes), span(outcomes))


def throughput(outcomes: Sequence[Outcome]) -> float:
    """Megabytes of envelopes per second."""
    return ratio(sum(outcome.tally.bytes for outcome in outcomes), span(outcomes)) / 1e6


def all_seconds(outcomes: Sequence[Outcome]) -> list[float]:
    """The time of each request, or of each connection."""
    return [taken for outcome in outcomes for taken in outcome.tally.seconds]


def latencies(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """The metrics of the time that requests took."""
    seconds = all_seconds(outcomes)
    return {"p50": percentile(seconds, 50) * 1e3, "p99": percentile(seconds, 99) * 1e3}
