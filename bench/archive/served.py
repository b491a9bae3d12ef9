"""Requests to running servers, and the plain scan of the same archives, in turn."""

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import median, quantiles
from types import TracebackType
from typing import Self

from wakumail.archive.archive import Archive, PageState
from wakumail.load.clients.history_reader import HistoryReaderLoad
from wakumail.load.clients.processes import ClientPool
from wakumail.load.server_process import ServerProcess
from wakumail.load.watch import Watch, throughput
from wakumail.load.workload.archived_traffic import ArchivedTraffic
from wakumail.load.workload.request_kinds import PAGE_LIMIT, RequestKind, RequestSpec

from .scan import measure_scan

ROUNDS = 3
SECONDS = 1.5
"""Seconds for which the clients of one round send."""

COUNT = 2000
"""Requests of one client in one round, at most."""

PACKET = 1 << 20


@dataclass(slots=True)
class Site:
    """An archive, how it was filled, and the server over it."""

    traffic: ArchivedTraffic
    datadir: Path
    server: ServerProcess

    @property
    def archive(self) -> Path:
        """The directory of its archive."""
        return self.datadir / "archive"


@dataclass(slots=True)
class Result:
    """The results of one row at one site. Lists have one entry a round; times are in seconds."""

    latencies: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Of the server, per request."""
    rates: list[float] = field(default_factory=list)
    """Megabytes of envelopes per second."""
    hits: list[float] = field(default_factory=list)
    """Envelopes per request."""
    archive: list[float] = field(default_factory=list)
    """CPU of the archive's pages alone, per request."""
    scans: list[float] = field(default_factory=list)
    """CPU of the plain scan, per request."""

    def percentile(self, percent: int) -> float:
        """The seconds that `percent` of all requests did not exceed."""
        return quantiles(self.latencies, n=100, method="inclusive")[percent - 1]


class Bench:
    """The processes of the clients, and one that scans."""

    def __init__(self) -> None:
        self._pool = ClientPool()
        self._scanner = ProcessPoolExecutor(1, get_context("spawn"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._pool.__exit__(kind, error, at)
        self._scanner.shutdown()

    def run(self, row: RequestKind, sites: Sequence[Site]) -> list[Result]:
        """Measure a row at each site, in turn, ROUNDS times."""
        results = [Result() for _ in sites]
        for number in range(ROUNDS):
            for site, result in zip(sites, results, strict=True):
                specs = row.specs(site.traffic)
                self._request(site, row.clients, specs, result)
                if row.clients == 1:
                    self._scan(site, specs[number % len(specs)], result)
                    result.archive.append(measure_pages(site.archive, specs))
        return results

    def _request(
        self, site: Site, clients: int, specs: Sequence[RequestSpec], result: Result
    ) -> None:
        served = site.server.running
        loads = [HistoryReaderLoad(specs, SECONDS, COUNT)] * clients
        with self._pool.open(loads, served.enode) as readers:
            readers.prepare()
            watch = Watch(served, [])
            (outcomes,) = watch.run([readers])
        seconds = watch.seconds
        result.latencies += seconds
        result.p50.append(median(seconds))
        result.cpu.append(watch.cpu / len(seconds))
        result.rates.append(throughput(outcomes))
        result.hits.append(watch.envelopes / len(seconds))

    def _scan(self, site: Site, spec: RequestSpec, result: Result) -> None:
        cpu, count = self._scanner.submit(measure_scan, site.archive, spec).result()
        if count != count_hits(site.archive, spec):
            raise AssertionError("the scan and the archive do not agree")
        result.scans.append(cpu)


def count_hits(path: Path, spec: RequestSpec) -> int:
    """The number of envelopes of the answer."""
    with Archive(path, readonly=True) as archive:
        return answer(archive, spec)


def answer(archive: Archive, spec: RequestSpec) -> int:
    """Read the whole answer, as a server would; returns the number of its envelopes."""
    query, position, total, page_count = spec.query, b"", 0, 0
    while True:
        page = archive.page_job(
            query, position, limit=PAGE_LIMIT - page_count, max_bytes=PACKET
        ).do()
        position = page.position
        total += page.count
        page_count += page.count
        if page.state is PageState.EXHAUSTED:
            return total
        if page_count == PAGE_LIMIT:
            if not spec.follows_cursor:
                return total
            page_count = 0


def measure_pages(path: Path, specs: Sequence[RequestSpec]) -> float:
    """Seconds of CPU that the archive alone takes for one of these requests."""
    with Archive(path, readonly=True) as archive:
        for spec in specs:
            answer(archive, spec)
        began = time.process_time()
        for spec in specs:
            answer(archive, spec)
        return (time.process_time() - began) / len(specs)
