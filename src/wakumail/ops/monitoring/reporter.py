"""The reporter: makes the report of one server when somebody asks for it."""

import asyncio

from prometheus_client.process_collector import ProcessCollector

from wakumail.archive.gaps import Gap
from wakumail.archive.results import Stat
from wakumail.devp2p.enode import Enode
from wakumail.mail.server import Server
from wakumail.ops.monitoring.exposition import Exposition
from wakumail.ops.monitoring.health import Health
from wakumail.ops.monitoring.report import Family, Report

STAT_TIMEOUT = 2.0
"""Seconds that a report waits for the archive; if a disk hangs, only its gauges are missing."""


class Reporter:
    """Reports on one server; its canary dials `enode`. It runs on one event loop."""

    def __init__(self, server: Server, enode: Enode | None = None) -> None:
        self.health = Health(server, enode)
        self.counters = server.counters
        self._server = server
        self._process = ProcessCollector(registry=None)
        self._stat: asyncio.Future[Stat] | None = None

    def start(self) -> None:
        """Start to watch the server, which must be listening."""
        self.health.start()

    async def close(self) -> None:
        """Stop; call it before the server closes, or it is seen to fail."""
        await self.health.close()

    async def report(self) -> Report:
        """The report of this moment."""
        exposition = Exposition(self._server, self.health, await self._read_stat())
        metrics = (*exposition.collect(), *self._process.collect())
        return Report([Family.of(metric) for metric in metrics], self.health.problems())

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The gaps that the archive is known to have."""
        return () if self._server.gaps is None else self._server.gaps.known

    async def _read_stat(self) -> Stat | None:
        """The state of the archive; None without one, or if it cannot be read in time.

        One thread reads at a time: while it is stuck, other scrapes wait for it too.
        """
        store = self._server.store
        if store is None:
            return None
        if self._stat is None:
            loop = asyncio.get_running_loop()
            self._stat = loop.run_in_executor(None, store.archive.stat)
        stat = self._stat
        await asyncio.wait((stat,), timeout=STAT_TIMEOUT)
        if not stat.done():
            return None
        self._stat = None
        return None if stat.exception() is not None else stat.result()
