"""The scenario with many peers: thousands that wait, hundreds that send, and one that asks."""

from dataclasses import dataclass

from wakumail.load.clients.blocking_connection import TIMEOUT
from wakumail.load.clients.history_reader import Asking
from wakumail.load.clients.idle_client import Waiting
from wakumail.load.clients.processes import Crew
from wakumail.load.clients.sender import Sending
from wakumail.load.measured_server import Target
from wakumail.load.measures import Measures, ratio
from wakumail.load.scenarios.cases import PROCESSES, REQUESTS, plural, sendings, split
from wakumail.load.watch import Watch, latencies, rate
from wakumail.load.workload.archived_traffic import Traffic
from wakumail.load.workload.request_kinds import ONE_TOPIC


@dataclass(frozen=True, slots=True)
class Crowd:
    """`idle` connections on which only pings happen; then those of `load` send beside them.

    seconds: of requests while nobody else is there; those who wait are watched for ten times that.
    """

    idle: int
    load: Sending
    traffic: Traffic
    seconds: float
    scenario: str = "crowd"

    @property
    def title(self) -> str:
        """How many, and what they do."""
        senders = plural(self.load.connections, "sender")
        return f"{self.idle:,} idle, {senders} of {self.load.count:,} envelopes"

    def measure(self, target: Target, crew: Crew) -> Measures:
        """One topic of a day: asked for alone, then in the crowd."""
        asks = ONE_TOPIC.asks(self.traffic)
        alone = Asking(asks, self.seconds, REQUESTS)
        beside = Asking(asks, TIMEOUT, 1 << 30)
        waiting = [Waiting(some, 10 * self.seconds) for some in split(self.idle, PROCESSES)]
        with target.serving(self.traffic, writing=True) as served:
            with crew.open([alone], served.enode) as small:
                small.prepare()
                (quiet,) = Watch(served, []).run([small])
            memory = served.account.resident() if served.account else 0
            with crew.open(waiting, served.enode) as idlers:
                still = Watch(served, [])
                still.settle()
                taken = served.account.resident() - memory if served.account else 0
                still.cpu = 0.0
                still.run([idlers])
                with (
                    crew.open([beside], served.enode) as small,
                    crew.open(sendings(self.load), served.enode) as senders,
                ):
                    small.prepare()
                    senders.prepare()
                    busy = Watch(served, [])
                    sent, asked, waited = busy.run([senders], aside=[small, idlers])
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
                        **busy.server(),
                        **busy.load([*asked, *waited]),
                    }
