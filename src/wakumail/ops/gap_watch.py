"""The watch over the gaps of a server's archive."""

import asyncio
import logging
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from wakumail.archive.gaps import Gaps
from wakumail.archive.store import Store
from wakumail.base.text import counted
from wakumail.mail.server import Server

STAMP_INTERVAL = 10.0
"""Seconds between two signs of life."""

log = logging.getLogger(__name__)


class Shedding(NamedTuple):
    """A time in which envelopes are dropped, from its start on."""

    start: int
    """Unix seconds, STAMP_INTERVAL early at most."""
    before: int
    """Number of envelopes that had been dropped before."""


class GapWatch:
    """Stamps the gaps while the server runs, and adds the times in which it dropped envelopes."""

    def __init__(self, server: Server, store: Store, path: Path) -> None:
        now = int(time.time())
        totals = store.stat()
        newest = None if totals is None else totals.newest
        self._server = server
        self._store = store
        self._gaps = server.gaps = Gaps(path, newest=newest, now=now)
        self._stamped = now
        self._shed = server.counters["envelopes_shed"]
        self._shedding: Shedding | None = None
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None]

    async def start(self) -> None:
        """Leave a first sign of life, and begin to watch."""
        await self._look()
        self._task = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Leave a last sign of life."""
        self._closing.set()
        await self._task
        self._end_shedding()
        self._server.gaps = None

    async def _watch(self) -> None:
        while not self._closing.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(STAMP_INTERVAL):
                    await self._closing.wait()
            await self._look()

    async def _look(self) -> None:
        now, shed = int(time.time()), self._server.counters["envelopes_shed"]
        if shed == self._shed:
            self._end_shedding()
        else:
            if self._shedding is None:
                self._shedding = Shedding(self._stamped, self._shed)
                log.warning("envelopes are dropped unconfirmed: too many wait for the disk")
            self._gaps.add(self._stamped, now, "the archive took no writes")
        self._stamped, self._shed = now, shed
        if kept := self._store.retention.seconds:
            self._gaps.fill(0, now - kept)
        # In a thread: the disk may hang.
        await asyncio.get_running_loop().run_in_executor(None, self._gaps.stamp, now)

    def _end_shedding(self) -> None:
        """Log its end, once."""
        if self._shedding is not None:
            start, before = self._shedding
            count, seconds = self._shed - before, self._stamped - start
            log.warning("%s dropped unconfirmed in %d s", counted(count, "envelope"), seconds)
            self._shedding = None
