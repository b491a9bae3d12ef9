"""A long run of mixed load on one server: does anything drift?"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from wakumail.load.asking import Asking
from wakumail.load.cases import REQUESTS, sendings
from wakumail.load.crew import Crew
from wakumail.load.metrics import Measures, ratio
from wakumail.load.requests import FOLLOWING, ONE_TOPIC
from wakumail.load.sending import Sending
from wakumail.load.server import Target
from wakumail.load.traffic import Traffic
from wakumail.load.watch import Watch, latencies, rate

HEAT_SECONDS = 2.0
"""Of requests, in each of which the senders send once."""

LEAST_HEATS = 3


@dataclass(frozen=True, slots=True)
class Soak:
    """Senders, one who reads everything and one who asks for little, for so many seconds.

    Each heat of HEAT_SECONDS has all envelopes of `load`; the next ones are made after it.
    """

    load: Sending
    traffic: Traffic
    seconds: float
    scenario: str = "soak"

    @property
    def title(self) -> str:
        """How long, and how much."""
        return f"{self.seconds:,.0f} s, heats of {self.load.count:,} envelopes and requests"

    def measure(self, target: Target, crew: Crew) -> Measures:
        """Memory and p99 of the last third of the heats against those of the first."""
        small, bulk = (
            Asking(row.asks(self.traffic), HEAT_SECONDS, REQUESTS) for row in (ONE_TOPIC, FOLLOWING)
        )
        ingested: list[float] = []
        memory: list[float] = []
        p99: list[float] = []
        with (
            target.serving(self.traffic, writing=True) as served,
            crew.open(sendings(self.load), served.enode) as senders,
            crew.open([small], served.enode) as reader,
            crew.open([bulk], served.enode) as reader_of_all,
        ):
            reader.prepare()
            reader_of_all.prepare()
            watch = Watch(served, [])
            ends = time.monotonic() + self.seconds
            while len(p99) < LEAST_HEATS or time.monotonic() < ends:
                senders.prepare()
                ours, asked, _ = watch.run([senders, reader, reader_of_all])
                ingested.append(rate(ours))
                p99.append(latencies(asked)["p99"])
                memory.append(watch.server().get("resident", 0.0))
            return {
                "ingested": median(ingested),
                "p99": median(p99),
                "p99_drift": drift(p99),
                **watch.server(),
                **watch.costs(memory_drift=drift(memory)),
            }


def drift(values: Sequence[float]) -> float:
    """The median of the last third against that of the first."""
    third = len(values) // 3
    return ratio(median(values[-third:]), median(values[:third]))
