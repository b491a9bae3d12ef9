"""The desk: all that sync asks of an archive, in threads beside the loop."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from wakumail.archive.archive import Archive
from wakumail.archive.results import Fetched
from wakumail.archive.retention import archive_reach
from wakumail.base.threads import Threads
from wakumail.mail.sync.items import Items
from wakumail.mail.sync.packets import Seek, Want

DESK_THREADS = 2
"""Threads: one more than a long message of one peer takes, so that others do not wait for it."""

MAX_SEEK_ROWS = 8_388_608
"""Envelopes that one Seek looks at, in all its runs: 0.2 s on a slow machine. Each run of an honest
peer has the few envelopes of a range that we told, or those of one second. A peer is told that
those beyond are gone, and finds them again in its next round."""

SEEK_TURN_ROWS = 65_536
"""Envelopes after which a Seek lets others have their turn."""

RUN_ROWS = 100
"""Envelopes that could be looked at while a run begins its transaction and finds its place."""

T = TypeVar("T")


class Desk:
    """Reads an archive for all peers that we sync with. Every call may raise ArchiveError."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._threads = Threads(DESK_THREADS, "archive-sync")

    def close(self) -> None:
        """Wait for what is under way, and end the threads."""
        self._threads.close()

    def reconcile(self, work: Callable[[Items], T]) -> asyncio.Future[T]:
        """The result of `work` over the items of one moment."""

        def job() -> T:
            with self._archive.items() as items:
                return work(items)

        return self._threads.run(job)

    async def find(self, wanted: Want | Seek) -> bytes:
        """The items (packed, in the order asked) of those wanted that are stored.

        Of a Seek that looks at too much the last runs are not found. Other calls have their turns
        between its jobs.
        """
        if isinstance(wanted, Want):
            return wanted.items
        found: list[bytes] = []
        runs, left = deque(wanted.runs), MAX_SEEK_ROWS

        def job() -> None:
            nonlocal left
            until = left - SEEK_TURN_ROWS
            while runs and left > max(until, 0):
                items, rows = self._archive.find(*runs.popleft())
                found.append(items)
                left -= RUN_ROWS + rows

        while runs and left > 0:
            await self._threads.run(job)
        return b"".join(found)

    def fetch(self, items: bytes, max_bytes: int) -> asyncio.Future[Fetched]:
        """Envelopes of the first of these items (see Archive.envelopes)."""
        return self._threads.run(partial(self._archive.envelopes, items, max_bytes=max_bytes))

    def missing(self, items: bytes) -> asyncio.Future[bytes]:
        """Those items that are not stored."""
        return self._threads.run(partial(self._archive.missing, items))

    def arrived(self, sequence: int, limit: int) -> asyncio.Future[tuple[bytes, int]]:
        """Items that were stored from a sequence on, and the next sequence."""
        return self._threads.run(partial(self._archive.arrived, sequence, limit=limit))

    def next_sequence(self) -> asyncio.Future[int]:
        """The sequence of the envelope that is stored next."""
        return self._threads.run(lambda: self._archive.stat().next_sequence)

    def reach(self, until: float) -> asyncio.Future[tuple[int, float]]:
        """The `archive_reach`."""
        return self._threads.run(lambda: archive_reach(self._archive, until))
