"""The desk: all that sync asks of an archive, in threads beside the loop."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from wakumail.archive.archive import Archive
from wakumail.archive.results import Fetched
from wakumail.base.threads import Threads
from wakumail.mail.sync.items import Items
from wakumail.mail.sync.packets import Seek, Want

DESK_THREADS = 2
"""Threads: one more than a long message of one peer takes, so that others do not wait for it."""

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

    def find(self, wanted: Want | Seek) -> asyncio.Future[bytes]:
        """The items (packed, in the order asked) of those wanted that are stored."""

        def job() -> bytes:
            if isinstance(wanted, Want):
                return wanted.items
            return b"".join(self._archive.find(*run) for run in wanted.runs)

        return self._threads.run(job)

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

    def pruned(self) -> asyncio.Future[int]:
        """Unix seconds: everything created before was deleted; 0 if nothing was."""
        return self._threads.run(lambda: self._archive.stat().pruned)
