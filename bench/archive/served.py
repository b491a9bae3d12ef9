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

from wakumail.archive import Archive, PageState

from .client import send_asks
from .requests import LIMIT, Ask, Row
from .scan import measure_scan
from .server import Server
from .traffic import Traffic

ROUNDS = 3
MAX_CLIENTS = 8
SECONDS = 1.5
"""How long the clients of one round send."""

COUNT = 2000
"""Requests of one client in one round, at most."""

LEAD = 0.8
"""Seconds that a client has to connect and to warm the caches before the round begins."""

PACKET = 1 << 20


@dataclass(slots=True)
class Site:
    """An archive, how it was filled, and the server over it."""

    traffic: Traffic
    datadir: Path
    server: Server

    @property
    def archive(self) -> Path:
        """The directory of its archive."""
        return self.datadir / "archive"


@dataclass(slots=True)
class Result:
    """What one row came to at one site; one entry of each list is a round, times in seconds."""

    latencies: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Of the server, per request."""
    rates: list[float] = field(default_factory=list)
    """Bytes of envelopes per second."""
    hits: list[float] = field(default_factory=list)
    """Envelopes per request."""
    archive: list[float] = field(default_factory=list)
    """CPU of Archive.page alone, per request."""
    scans: list[float] = field(default_factory=list)
    """CPU of the plain scan, per request."""

    def percentile(self, percent: int) -> float:
        """Seconds that so many percent of all requests took at most."""
        return quantiles(self.latencies, n=100, method="inclusive")[percent - 1]


class Bench:
    """The processes that ask: clients, and one that scans."""

    def __init__(self) -> None:
        spawn = get_context("spawn")
        self._clients = ProcessPoolExecutor(MAX_CLIENTS, spawn)
        self._scanner = ProcessPoolExecutor(1, spawn)
        for future in [self._clients.submit(time.sleep, 1) for _ in range(MAX_CLIENTS)]:
            future.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._clients.shutdown()
        self._scanner.shutdown()

    def run(self, row: Row, sites: Sequence[Site]) -> list[Result]:
        """Measure a row at each site, in turn, ROUNDS times."""
        results = [Result() for _ in sites]
        for number in range(ROUNDS):
            for site, result in zip(sites, results, strict=True):
                asks = row.asks(site.traffic)
                self._ask(site, row.clients, asks, result)
                if row.clients == 1:
                    self._scan(site, asks[number % len(asks)], result)
                    result.archive.append(measure_pages(site.archive, asks))
        return results

    def _ask(self, site: Site, clients: int, asks: Sequence[Ask], result: Result) -> None:
        start = time.monotonic() + LEAD * (1 if clients == 1 else 3)
        jobs = [
            self._clients.submit(
                send_asks, site.server.process, asks, start=start, seconds=SECONDS, count=COUNT
            )
            for _ in range(clients)
        ]
        served = [job.result() for job in jobs]
        seconds = [taken for one in served for taken in one.seconds]
        wall = max(one.ended for one in served) - min(one.began for one in served)
        cpu = max(one.cpu_after for one in served) - min(one.cpu_before for one in served)
        result.latencies += seconds
        result.p50.append(median(seconds))
        result.cpu.append(cpu / len(seconds))
        result.rates.append(sum(one.bytes for one in served) / wall)
        result.hits.append(sum(one.envelopes for one in served) / len(seconds))

    def _scan(self, site: Site, ask: Ask, result: Result) -> None:
        cpu, count = self._scanner.submit(measure_scan, site.archive, ask).result()
        if count != count_hits(site.archive, ask):
            raise AssertionError("the scan and the archive do not agree")
        result.scans.append(cpu)


def count_hits(path: Path, ask: Ask) -> int:
    """How many envelopes the archive answers with."""
    with Archive(path, readonly=True) as archive:
        return answer(archive, ask)


def answer(archive: Archive, ask: Ask) -> int:
    """Read the whole answer, as a server would; how many envelopes it has."""
    query, position, total, page_count = ask.query, b"", 0, 0
    while True:
        page = archive.page(query, position, limit=LIMIT - page_count, max_bytes=PACKET)
        position = page.position
        total += page.count
        page_count += page.count
        if page.state is PageState.EXHAUSTED:
            return total
        if page_count == LIMIT:
            if not ask.follows:
                return total
            page_count = 0


def measure_pages(path: Path, asks: Sequence[Ask]) -> float:
    """Seconds of CPU that the archive alone takes for one of these requests."""
    with Archive(path, readonly=True) as archive:
        for ask in asks:
            answer(archive, ask)
        began = time.process_time()
        for ask in asks:
            answer(archive, ask)
        return (time.process_time() - began) / len(asks)
