"""The watch over the disk of a server's archive: the log tells before it is full."""

import asyncio
import logging
import time
from contextlib import suppress

from wakumail.archive.outlook import look_at
from wakumail.archive.store import Store
from wakumail.base.tasks import end_tasks
from wakumail.errors import ArchiveError

log = logging.getLogger(__name__)

LOOK_INTERVAL = 60.0
"""Seconds between two looks."""

REPEAT_INTERVAL = 86400.0
"""Seconds after which a warning that still holds is logged again."""


class DiskWatch:
    """Logs a warning while the disk will be full soon, once a day, and when that is over."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._warned: float | None = None
        """The time of its line in the log (time.monotonic); None while there is none."""
        self._task: asyncio.Task[None]

    def start(self) -> None:
        """Begin to watch."""
        self._task = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Stop."""
        await end_tasks([self._task])

    async def look(self) -> None:
        """Look once. A disk that cannot be asked says nothing of its room."""
        loop, now = asyncio.get_running_loop(), time.time()
        archive, retention = self._store.archive, self._store.retention
        with suppress(ArchiveError, OSError):
            look = await loop.run_in_executor(None, look_at, archive, retention, now)
            self._tell(look.warning(now), time.monotonic())

    def _tell(self, warning: str, now: float) -> None:
        if not warning:
            if self._warned is not None:
                log.info("the disk has room for the archive again")
            self._warned = None
        elif self._warned is None or now - self._warned >= REPEAT_INTERVAL:
            log.warning("the disk: %s", warning)
            self._warned = now

    async def _watch(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_INTERVAL)
