"""The scenario of the longest steps: nothing that anybody sends may hold the loop for long."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wakumail.archive.datadir import Datadir
from wakumail.base.keccak import keccak256
from wakumail.devp2p import keys
from wakumail.devp2p.enode import Enode
from wakumail.load.clients.processes import ClientPool
from wakumail.load.floor.speeds import best
from wakumail.load.measured_server import MeasuredServer
from wakumail.load.measures import Measures
from wakumail.load.metered_server import MeteredServer
from wakumail.load.scenarios.step_inputs import StepInput, step_inputs
from wakumail.load.workload.archived_traffic import ArchivedTraffic
from wakumail.load.workload.packet_inputs import share_of

STEP_LIMIT = 0.050
"""Seconds that a step may take where the calibration takes CALIBRATION_TIME."""

CALIBRATION_TIME = 0.003
"""Seconds of `calibrate` on two quiet cores of an AMD EPYC."""

CALIBRATION_ROUNDS = 60_000
CALIBRATION_BYTES = bytes(1 << 20)

TRIALS = 4
"""Times that an input is sent until its longest step is short enough. What takes long takes long
each time; what else the machine did, it does not do each time."""

LISTED_NODES = 10_000
"""Entries of each list of nodes at the start."""

START_SETTLE_TIME = 1.0


def calibrate() -> float:
    """Seconds of CPU that a fixed piece of work takes, half of it compiled; the least of some."""

    def work() -> None:
        sum(number & 7 for number in range(CALIBRATION_ROUNDS))
        keccak256(CALIBRATION_BYTES)

    return best(work)


def step_limit() -> float:
    """Seconds that a step may take on this machine now."""
    return STEP_LIMIT * max(1.0, calibrate() / CALIBRATION_TIME)


@dataclass(frozen=True, slots=True)
class StepsCase:
    """One input, sent to a server that is kept for all of them: each finds what others left."""

    sent: StepInput
    traffic: ArchivedTraffic
    share: float = 1.0
    """Of sizes and numbers; less than 1 to try the scenario itself."""
    scenario: str = "steps"

    @property
    def title(self) -> str:
        """The input."""
        return self.sent.title

    def measure(self, server: MeasuredServer, pool: ClientPool) -> Measures:
        """Send it, again if a step took too long; the longest step of the best time."""
        metered = server.metered(self.traffic)
        steps = (self._longest_step(metered) for _ in range(TRIALS))
        return least(steps)

    def _longest_step(self, metered: MeteredServer) -> float:
        metered.longest_step()
        self.sent.send(metered, self.share)
        metered.settle()
        return metered.longest_step()


@dataclass(frozen=True, slots=True)
class StartStepsCase:
    """The start of a server with an archive and long lists of nodes, once it listens."""

    traffic: ArchivedTraffic
    share: float = 1.0
    scenario: str = "steps"

    @property
    def title(self) -> str:
        """The sizes."""
        return (
            f"the start, with {self.traffic.envelopes:,} envelopes and two lists of "
            f"{share_of(LISTED_NODES, self.share):,} nodes"
        )

    def measure(self, server: MeasuredServer, pool: ClientPool) -> Measures:
        """Start servers; the longest step of the best start."""
        return least(self._starts(server))

    def _starts(self, server: MeasuredServer) -> Iterator[float]:
        for _ in range(TRIALS):
            with server.metered_start(self.traffic, self._write_lists) as started:
                time.sleep(START_SETTLE_TIME * self.share)
                yield started.longest_step()

    def _write_lists(self, path: Path) -> None:
        """Write lists of nodes that nobody is."""
        datadir = Datadir(path)
        for file in (datadir.static_nodes, datadir.trusted_nodes):
            ids = (
                keys.node_id(keys.generate(os.urandom).public_key)
                for _ in range(share_of(LISTED_NODES, self.share))
            )
            file.write_text(json.dumps([str(Enode(own, "127.0.0.1", 1, 1)) for own in ids]))


def least(steps: Iterator[float]) -> Measures:
    """The measures of the first step within the limit, or else of the least one."""
    best = limit = float("inf")
    for step in steps:
        limit = step_limit()
        best = min(best, step)
        if best <= limit:
            break
    return {"step": best * 1e3, "step_limit": limit * 1e3}


def steps_cases(traffic: ArchivedTraffic) -> Iterator[StepsCase | StartStepsCase]:
    """A case for each input, and one for the start."""
    yield StartStepsCase(traffic)
    for sent in step_inputs():
        yield StepsCase(sent, traffic)
