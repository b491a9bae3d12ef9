"""The scenario of a flood of discovery: small requests beside datagrams for the server."""

from dataclasses import dataclass

from wakumail.load.clients.blocking_connection import LOAD_TIMEOUT
from wakumail.load.clients.datagram_flood import DatagramFloodLoad
from wakumail.load.clients.history_reader import HistoryReaderLoad
from wakumail.load.clients.processes import ClientPool
from wakumail.load.clients.role import Outcome
from wakumail.load.measured_server import MeasuredServer
from wakumail.load.measures import Measures, ratio
from wakumail.load.scenarios.cases import MAX_REQUESTS, slowdown
from wakumail.load.server_process import RunningServer
from wakumail.load.watch import Watch, rate, span
from wakumail.load.workload.archived_traffic import ArchivedTraffic
from wakumail.load.workload.request_kinds import ONE_TOPIC

ROUNDS = (True, False, False, True)
"""In turn, the flood goes into a sink or to the server, so that drift does not count."""


@dataclass(frozen=True, slots=True)
class DiscoveryCase:
    """One client that asks for one topic of a day, beside a flood of pings.

    The flood goes to the server, and for comparison into a sink on the same machine: the cost of
    sending is in both. The server's CPU is that of the flood without requests. `seconds` is the
    length of each round.
    """

    rate: int
    traffic: ArchivedTraffic
    seconds: float
    scenario: str = "discovery"

    @property
    def title(self) -> str:
        """The request, and the flood."""
        return f"{ONE_TOPIC.title}, beside {self.rate:,} pings of discovery a second"

    def measure(self, server: MeasuredServer, pool: ClientPool) -> Measures:
        """Ask beside both floods in turn."""
        beside: dict[bool, list[Outcome]] = {True: [], False: []}
        floods: list[Outcome] = []
        with server.serving(self.traffic, flags=("--discovery.v4",)) as running:
            watch = Watch(running, [])
            for into_sink in ROUNDS:
                asked, flooded = self._round(running, pool, watch, into_sink=into_sink)
                beside[into_sink] += asked
                floods += [] if into_sink else flooded
            alone = Watch(running, [])
            flood = DatagramFloodLoad(self.rate, into_sink=False, seconds=self.seconds)
            with pool.open([flood], running.enode) as flooders:
                alone.run([flooders])
            return {
                "requests_kept": 100 * ratio(_requests(beside[False]), _requests(beside[True])),
                "datagrams": sum(rate([each]) for each in floods) / len(floods),
                **slowdown(beside[True], beside[False]),
                **alone.costs(cpu_share=100 * ratio(alone.cpu, alone.wall)),
                **watch.memory(),
                **watch.bottleneck(floods),
            }

    def _round(
        self, running: RunningServer, pool: ClientPool, watch: Watch, *, into_sink: bool
    ) -> tuple[list[Outcome], list[Outcome]]:
        reader = HistoryReaderLoad(ONE_TOPIC.specs(self.traffic), self.seconds, MAX_REQUESTS)
        flood = DatagramFloodLoad(self.rate, into_sink, LOAD_TIMEOUT)
        with (
            pool.open([reader], running.enode) as readers,
            pool.open([flood], running.enode) as flooders,
        ):
            readers.prepare()
            flooders.prepare()
            asked, flooded = watch.run([readers], background=[flooders])
            return asked, flooded


def _requests(outcomes: list[Outcome]) -> float:
    """Requests per second, over all rounds."""
    answered = sum(len(outcome.tally.seconds) for outcome in outcomes)
    return ratio(answered, sum(span([outcome]) for outcome in outcomes))
