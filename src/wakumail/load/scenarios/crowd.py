"""The scenario with many peers: thousands are idle, hundreds send, and one asks for history."""

from dataclasses import dataclass

from wakumail.base.text import counted
from wakumail.load.clients.blocking_connection import LOAD_TIMEOUT
from wakumail.load.clients.history_reader import HistoryReaderLoad
from wakumail.load.clients.processes import ClientPool
from wakumail.load.clients.sender import SenderLoad
from wakumail.load.measured_server import MeasuredServer
from wakumail.load.measures import Measures
from wakumail.load.scenarios.cases import (
    UNLIMITED_REQUESTS,
    idle_clients,
    measure_alone,
    sendings,
    slowdown,
)
from wakumail.load.watch import Watch, rate
from wakumail.load.workload.archived_traffic import ArchivedTraffic
from wakumail.load.workload.request_kinds import ONE_TOPIC


@dataclass(frozen=True, slots=True)
class CrowdCase:
    """`idle` connections that only send pings; then those of `load` send envelopes beside them.

    seconds: length of the requests without others. The idle are watched ten times as long.
    """

    idle: int
    load: SenderLoad
    traffic: ArchivedTraffic
    seconds: float
    scenario: str = "crowd"

    @property
    def title(self) -> str:
        """The number of idle connections, of senders and of envelopes."""
        senders = counted(self.load.connections, "sender")
        return f"{self.idle:,} idle, {senders} of {self.load.count:,} envelopes"

    def measure(self, server: MeasuredServer, pool: ClientPool) -> Measures:
        """Ask for one topic of a day without others, then in the crowd."""
        specs = ONE_TOPIC.specs(self.traffic)
        beside = HistoryReaderLoad(specs, LOAD_TIMEOUT, UNLIMITED_REQUESTS)
        with server.serving(self.traffic, writing=True) as running:
            quiet = measure_alone(specs, self.seconds, running, pool)
            with (
                idle_clients(self.idle, 10 * self.seconds, running, pool) as (idlers, idle_costs),
                pool.open([beside], running.enode) as reader,
                pool.open(sendings(self.load), running.enode) as senders,
            ):
                reader.prepare()
                senders.prepare()
                watch = Watch(running, [])
                sent, asked, waited = watch.run([senders], background=[reader, idlers])
                return {
                    **idle_costs,
                    **slowdown(quiet, asked),
                    "ingested": rate(sent),
                    **watch.memory(),
                    **watch.bottleneck([*asked, *waited]),
                }
