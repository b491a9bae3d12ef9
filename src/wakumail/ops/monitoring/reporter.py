"""The reporter: makes the report of one server when somebody asks for it."""

import asyncio
import time
from typing import TYPE_CHECKING

from prometheus_client.process_collector import ProcessCollector

from wakumail.archive.gaps import Gap
from wakumail.archive.outlook import Look, look_at
from wakumail.devp2p.enode import Enode
from wakumail.mail.server import Server
from wakumail.ops.monitoring.exposition import Exposition
from wakumail.ops.monitoring.health import Health
from wakumail.ops.monitoring.report import Family, Problem, Report

if TYPE_CHECKING:
    from wakumail.ops.cluster.member import Member

LOOK_TIMEOUT = 2.0
"""Seconds that a report waits for the archive; if a disk hangs, only its gauges are missing."""


class Reporter:
    """Reports on one server; its canary dials `enode`. It runs on one event loop."""

    def __init__(
        self, server: Server, enode: Enode | None = None, member: "Member | None" = None
    ) -> None:
        self.health = Health(server, enode, member)
        self.counters = server.counters
        self._server = server
        self._member = member
        self._process = ProcessCollector(registry=None)
        self._looking: asyncio.Future[Look] | None = None

    def start(self) -> None:
        """Start to watch the server, which must be listening."""
        self.health.start()

    async def close(self) -> None:
        """Stop; call it before the server closes, or it is seen to fail."""
        await self.health.close()

    async def report(self) -> Report:
        """The report of this moment."""
        exposition = Exposition(self._server, self.health, await self.look(), self._member)
        metrics = (*exposition.collect(), *self._process.collect())
        return Report([Family.of(metric) for metric in metrics], self.health.problems())

    @property
    def enode(self) -> str:
        """Our enode as others reach it; empty while the server does not listen."""
        return "" if self._server.node.listening is None else str(self._server.enode)

    @property
    def record(self) -> str:
        """Our node record; empty while the server does not listen."""
        listening = self._server.node.listening
        return "" if listening is None else str(self._server.presence.record)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The gaps that the archive is known to have."""
        return () if self._server.gaps is None else self._server.gaps.known

    async def look(self, timeout: float = LOOK_TIMEOUT) -> Look | None:  # noqa: ASYNC109 - answers None then
        """The archive and its outlook; None without one, or if it cannot be read in time.

        One thread reads at a time: while it is stuck, other scrapes wait for it too.
        """
        store = self._server.store
        if store is None:
            return None
        if self._looking is None:
            self._looking = asyncio.get_running_loop().run_in_executor(
                None, look_at, store.archive, store.retention, time.time()
            )
        looking = self._looking
        await asyncio.wait((looking,), timeout=timeout)
        if not looking.done():
            return None
        self._looking = None
        return None if looking.exception() is not None else looking.result()


def warnings(look: Look | None, now: float) -> list[Problem]:
    """The problems that may come soon, as a look at the archive shows them."""
    reason = "" if look is None else look.warning(now)
    return [Problem("disk", reason, 0.0)] if reason else []
