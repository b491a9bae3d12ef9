"""Requests of an archive that is not in memory, and the same ones again when it is."""

import os
from dataclasses import dataclass
from pathlib import Path

from wakumail.archive.datadir import Datadir
from wakumail.load.clients.history_reader import HistoryReaderLoad
from wakumail.load.clients.processes import ClientPool
from wakumail.load.clients.role import LoadFailed
from wakumail.load.measured_server import MeasuredServer
from wakumail.load.measures import Measures, percentile, ratio
from wakumail.load.watch import Watch
from wakumail.load.workload.archived_traffic import ArchivedTraffic
from wakumail.load.workload.request_kinds import (
    ALL_DAY,
    ONE_TOPIC,
    OVER_MONTH,
    OVER_WEEK,
    TOPIC_DAY,
    TOPIC_MONTH,
    TOPICS_WEEK,
    RequestKind,
)

COLD_KINDS = (ONE_TOPIC, TOPIC_DAY, TOPIC_MONTH, OVER_MONTH, TOPICS_WEEK, OVER_WEEK, ALL_DAY)

COLD_REQUESTS = 8
"""Requests that are measured: each for other topics, so that none finds what another has read."""

LONG = 3600.0
"""Seconds, more than the requests take: their number ends the run."""


@dataclass(frozen=True, slots=True)
class ColdCase:
    """One kind of request, of a server that starts on an archive of which nothing is in memory."""

    kind: RequestKind
    traffic: ArchivedTraffic
    scenario: str = "cold"

    @property
    def title(self) -> str:
        """The kind of request."""
        return self.kind.title

    def measure(self, server: MeasuredServer, pool: ClientPool) -> Measures:
        """Ask each request twice; nothing if the server has its own archive.

        LoadFailed where the system keeps the file in memory, as it does on a file system in memory.
        """
        filled = server.filled(self.traffic)
        if filled is None:
            return {}
        specs = self.kind.specs(self.traffic)[:COLD_REQUESTS]
        evict(Datadir(filled).archive)
        load = HistoryReaderLoad(specs, LONG, len(specs))
        with server.serving(self.traffic) as running, pool.open([load], running.enode) as clients:
            assert running.usage is not None
            before = running.usage.read_bytes(), running.usage.major_faults()
            cold = Watch(running, [])
            cold.run([clients])
            read = running.usage.read_bytes() - before[0]
            waits = running.usage.major_faults() - before[1]
            warm = Watch(running, [])
            warm.run([clients])
            if not waits:
                raise LoadFailed("the system kept the archive in memory: give a --dir on a disk")
            p50, p50_warm = percentile(cold.seconds, 50), percentile(warm.seconds, 50)
            return {
                "envelopes": ratio(cold.envelopes, len(specs)),
                "p50": p50 * 1e3,
                "p50_warm": p50_warm * 1e3,
                "chill": ratio(p50, p50_warm),
                "disk_reads": read / len(specs) / 1024,
                "disk_waits": waits / len(specs),
            }


def evict(directory: Path) -> None:
    """Write the files of a directory to disk, and have the system forget what it has of them."""
    for path in directory.iterdir():
        with path.open("rb") as file:
            os.fdatasync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
