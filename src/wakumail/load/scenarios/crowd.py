"""The scenario with many peers: thousands that wait, hundreds that send, and one that asks."""

from dataclasses import dataclass

from wakumail.load.clients.blocking_connection import LOAD_TIMEOUT
from wakumail.load.clients.history_reader import HistoryReaderLoad
from wakumail.load.clients.idle_client import IdleLoad
from wakumail.load.clients.processes import ClientPool
from wakumail.load.clients.sender import SenderLoad
from wakumail.load.measured_server import MeasuredServer
from wakumail.load.measures import Measures, ratio
from wakumail.load.scenarios.cases import CLIENT_PROCESSES, MAX_REQUESTS, plural, sendings, split
from wakumail.load.watch import Watch, latencies, rate
from wakumail.load.workload.archived_traffic import ArchivedTraffic
from wakumail.load.workload.request_kinds import ONE_TOPIC


@dataclass(frozen=True, slots=True)
class CrowdCase:
    """`idle` connections on which only pings happen; then those of `load` send beside them.

    seconds: of requests while nobody else is there; those who wait are watched for ten times that.
    """

    idle: int
    load: SenderLoad
    traffic: ArchivedTraffic
    seconds: float
    scenario: str = "crowd"

    @property
    def title(self) -> str:
        """How many, and what they do."""
        senders = plural(self.load.connections, "sender")
        return f"{self.idle:,} idle, {senders} of {self.load.count:,} envelopes"

    def measure(self, server: MeasuredServer, pool: ClientPool) -> Measures:
        """One topic of a day: asked for alone, then in the crowd."""
        specs = ONE_TOPIC.specs(self.traffic)
        alone = HistoryReaderLoad(specs, self.seconds, MAX_REQUESTS)
        beside = HistoryReaderLoad(specs, LOAD_TIMEOUT, 1 << 30)
        waiting = [IdleLoad(some, 10 * self.seconds) for some in split(self.idle, CLIENT_PROCESSES)]
        with server.serving(self.traffic, writing=True) as running:
            with pool.open([alone], running.enode) as small:
                small.prepare()
                (quiet,) = Watch(running, []).run([small])
            memory = running.usage.resident() if running.usage else 0
            with pool.open(waiting, running.enode) as idlers:
                still = Watch(running, [])
                still.settle()
                taken = running.usage.resident() - memory if running.usage else 0
                still.cpu = 0.0
                still.run([idlers])
                with (
                    pool.open([beside], running.enode) as small,
                    pool.open(sendings(self.load), running.enode) as senders,
                ):
                    small.prepare()
                    senders.prepare()
                    busy = Watch(running, [])
                    sent, asked, waited = busy.run([senders], background=[small, idlers])
                    before, during = latencies(quiet), latencies(asked)
                    return {
                        **still.costs(
                            cpu_share=100 * ratio(still.cpu, still.wall),
                            connection_memory=taken / self.idle / 1024,
                        ),
                        **during,
                        "p99_alone": before["p99"],
                        "slowdown": ratio(during["p99"], before["p99"]),
                        "ingested": rate(sent),
                        **busy.memory(),
                        **busy.bottleneck([*asked, *waited]),
                    }
