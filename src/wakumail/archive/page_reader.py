"""The page reader: slices of answers, and envelopes by their items, for the event loop."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from wakumail.archive.archive import Archive, Fetched, Page, Query
from wakumail.base.threads import CompiledThreads
from wakumail.counters import Counters
from wakumail.errors import ArchiveDamaged

READER_THREADS = 4
"""Threads for reading; LMDB readers do not block each other or the writer."""

AT_ONCE_IN_A_TURN = 8
"""Small pages that the event loop reads by itself in one turn, where they are in memory: a
millisecond. The way to a thread and back costs more than such a page."""


class PageReader:
    """Reads pages in threads of its own, and small ones that are in memory at once."""

    def __init__(self, archive: Archive, counters: Counters) -> None:
        self.damaged = ""
        """The error of the last page that met damage in the file; empty if none did."""
        self._archive = archive
        self._counters = counters
        self._at_once = 0
        """Pages asked for in this turn of the event loop."""
        self._threads = CompiledThreads(READER_THREADS)
        self._slots = asyncio.Semaphore(2 * READER_THREADS)
        """Pages that may hold memory at a time: two for each thread, so that no thread waits."""

    async def read(self, query: Query, position: bytes, *, limit: int, max_bytes: int) -> Page:
        """The next slice of an answer (see Archive.page_job). ArchiveError."""
        if self._may_read_at_once():
            with self._noting_damage():
                page = self._archive.page_at_once(query, position, limit=limit, max_bytes=max_bytes)
            if page is not None:
                return page
        async with self._slots:
            job = self._archive.page_job(query, position, limit=limit, max_bytes=max_bytes)
            with self._noting_damage():
                return await self._threads.run(job)

    def _may_read_at_once(self) -> bool:
        """True for the first few pages of each turn of the loop."""
        if not self._at_once:
            asyncio.get_running_loop().call_soon(self._begin_turn)
        self._at_once += 1
        return self._at_once <= AT_ONCE_IN_A_TURN

    def _begin_turn(self) -> None:
        self._at_once = 0

    async def fetch(self, items: bytes, *, max_bytes: int) -> Fetched:
        """Envelopes by their items (see Archive.envelopes). ArchiveError."""
        read = self._archive.envelopes
        async with self._slots:
            with self._noting_damage():
                return await asyncio.to_thread(read, items, max_bytes=max_bytes)

    @contextmanager
    def _noting_damage(self) -> Iterator[None]:
        try:
            yield
        except ArchiveDamaged as error:
            self.damaged = str(error)
            self._counters.add(error.counter)
            raise

    def close(self) -> None:
        """End the threads."""
        self._threads.close()
