"""The watch over the gaps of a server's archive."""

import asyncio
import logging
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from wakumail.archive.gaps import MIN_ABSENCE, RELAY_TIME, Gaps, last_trusted
from wakumail.archive.retention import AFTER_ALL, MAX_AHEAD, TrustedClock, archive_reach
from wakumail.archive.store import Store
from wakumail.base.text import counted
from wakumail.errors import ArchiveError
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
    """Stamps the gaps while the server runs, and adds the times in which it dropped envelopes.

    A clock that jumps, ahead or back, is believed once the archive bears it out: its envelopes came
    within seconds of their creation. Until then the time since the last look counts. At the start
    the clock alone tells the absence; if that was too long, it is ended later (see Gaps.end).
    """

    def __init__(self, server: Server, store: Store, path: Path) -> None:
        totals = store.stat()
        newest = None if totals is None else totals.newest
        self._server = server
        self._store = store
        self._shown = 0
        """The newest creation time that the archive shows, in Unix seconds; of any time to come."""
        self._proven = 0.0
        """The same, but no later than the clock."""
        self._clock = TrustedClock(last_trusted(path))
        self._trusted = 0
        """Unix seconds that are trusted; 0 as long as nothing shows a time."""
        self._pruned = 0
        """The archive's horizon (see Stat.pruned)."""
        self._read_archive()
        now, self._looked = int(time.time()), time.monotonic()
        self._gaps = server.gaps = Gaps(path, newest=newest, shown=self._shown, now=now)
        self._stamped = self._gaps.started
        """Unix seconds of the last look, as `_looked` is its time.monotonic."""
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
        loop = asyncio.get_running_loop()
        # In a thread: the disk may hang.
        await loop.run_in_executor(None, self._read_archive)
        shed, wall, monotonic = (
            self._server.counters["envelopes_shed"],
            time.time(),
            time.monotonic(),
        )
        ran, self._looked = monotonic - self._looked, monotonic
        now = self._time(int(wall), round(self._stamped + ran))
        if (began := now - round(ran)) - self._stamped > MIN_ABSENCE:
            self._gaps.add(self._stamped, began, "the host slept, or its clock was behind")
        if shed == self._shed:
            self._end_shedding()
        else:
            if self._shedding is None:
                self._shedding = Shedding(self._stamped, self._shed)
                log.warning("envelopes are dropped unconfirmed: too many wait for the disk")
            self._gaps.add(self._stamped, now, "the archive took no writes")
        self._stamped, self._shed = now, shed
        # By what the archive has, not by the clock: a gap that is taken away does not come back.
        if self._proven:
            self._trusted = int(self._clock.now(self._proven)[0])
        kept = self._store.retention.seconds
        older = min(self._trusted, int(self._proven)) - kept if kept else 0
        self._gaps.fill(0, max(self._pruned, older) - 1)
        await loop.run_in_executor(None, self._gaps.stamp, now, self._trusted)

    def _time(self, wall: int, expected: int) -> int:
        """The time in Unix seconds: `wall` of the clock, unless it has jumped without a proof.

        `expected` is the time by the last look and the monotonic clock.
        """
        latest = max(expected, int(self._proven))
        if wall - latest > MIN_ABSENCE:
            return latest
        if expected - wall <= MIN_ABSENCE or abs(wall - self._shown) <= RELAY_TIME:
            return wall
        return wall if self._gaps.end(wall, self._shown) else expected

    def _read_archive(self) -> None:
        """Read what the archive shows; if it cannot be read, what it showed before counts."""
        with suppress(ArchiveError):
            _, shown = archive_reach(self._store.archive, AFTER_ALL)
            self._pruned, self._proven = archive_reach(self._store.archive, time.time() + MAX_AHEAD)
            self._shown = int(shown)

    def _end_shedding(self) -> None:
        """Log its end, once."""
        if self._shedding is not None:
            start, before = self._shedding
            count, seconds = self._shed - before, self._stamped - start
            log.warning("%s dropped unconfirmed in %d s", counted(count, "envelope"), seconds)
            self._shedding = None
