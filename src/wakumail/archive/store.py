"""The store: an archive behind one event loop; it takes envelopes and reports what is on disk.

What the loop puts waits in a queue. The writer thread takes everything that is queued, commits it
in one synced transaction, and only then is it reported done: a confirmation always means "on disk".
While the disk refuses writes (full, failing) the queue waits and the store says that it is
degraded. Its callers then shed what the queue has no room for, and reading goes on.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import nullcontext

from wakumail.archive.archive import Appended, Archive, Stat
from wakumail.archive.branch_pages import BranchPages
from wakumail.archive.commit_queue import CommitQueue, QueuedBatch
from wakumail.archive.day_sorting import DaySorting
from wakumail.archive.durability import Durability
from wakumail.archive.page_reader import PageReader
from wakumail.archive.retention import Retention, RetentionSchedule
from wakumail.archive.writer_thread import CommitLock, PlaceOf, WriterThread
from wakumail.base.histograms import SECONDS, Histogram
from wakumail.counters import Counters
from wakumail.errors import ArchiveDamaged
from wakumail.waku.envelope import Batch

log = logging.getLogger(__name__)

MAX_UNCOMMITTED_BYTES = 24 << 20
"""Bytes of memory that may wait for their commit; above it the store asks for a pause."""

REPORT_PACKETS = 256
"""Packets that are reported done before the loop turns to others."""


class Store:
    """An archive behind one event loop."""

    def __init__(
        self,
        archive: Archive,
        counters: Counters,
        *,
        durability: Durability,
        retention: Retention,
        last_trusted: float = 0.0,
        commit_lock: CommitLock | None = None,
        place_of: PlaceOf | None = None,
    ) -> None:
        """`last_trusted`: see TrustedClock. `commit_lock` is held for each commit, where several
        processes commit to the archive; `place_of` tells the place in the log of a cluster that a
        commit stores."""
        self.archive = archive
        self.disk_problem = ""
        """The reason for which the disk takes no writes now; empty while it takes them."""
        self.pages = PageReader(archive, counters)
        self.on_room: Callable[[], None] | None = None
        """Called on the loop when a full queue has room again, or the disk refuses writes."""
        self.on_commit: Callable[[Appended], None] | None = None
        """Called on the loop after each commit, before it is reported to those who wait for it."""
        self.on_broken: Callable[[], None] | None = None
        """Called on the loop when the writer has died of an error of ours."""
        self.commit_seconds = Histogram(SECONDS)
        """Seconds that commits take."""
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._was_full = False
        """True from when the queue is full until it has room and `on_room` was called."""
        self._reporting = 0
        """Commits of which some batches are not reported yet."""
        self._reported = asyncio.Event()
        self._reported.set()
        self._queue = CommitQueue()
        self.writer = WriterThread(
            archive,
            self._queue,
            RetentionSchedule(retention, self._count_soon, last_trusted),
            DaySorting(retention, self._count_soon),
            durability,
            commit_lock or nullcontext(),
            place_of,
            on_commit=self._committed,
            on_failure=self._failed,
            on_death=self._broke,
        )
        self._branches = BranchPages(archive)

    def stat(self) -> Stat | None:
        """The totals of the archive; None if it is damaged where they stand.

        What is whole is served all the same, so a server starts without them.
        """
        try:
            return self.archive.stat()
        except ArchiveDamaged as error:
            log.error("%s", error)
            return None

    @property
    def degraded(self) -> str:
        """The reason for which the archive takes nothing now; empty while it does."""
        return self.disk_problem

    @property
    def queued_bytes(self) -> int:
        """Bytes of memory that wait for their commit, or to be reported after it."""
        return self._queue.put_bytes - self._queue.reported_bytes

    @property
    def full(self) -> bool:
        """True if the queue is over its bound: callers should pause until `on_room`."""
        return self._queue.put_bytes - self._queue.reported_bytes >= MAX_UNCOMMITTED_BYTES

    @property
    def overfull(self) -> bool:
        """True if peers that were not paused yet have filled the queue twice over."""
        return self._queue.put_bytes - self._queue.reported_bytes >= 2 * MAX_UNCOMMITTED_BYTES

    def put(self, batch: Batch, done: Callable[[], None]) -> None:
        """Queue the accepted envelopes of `batch`; `done` runs on the loop once they are on disk.

        A batch without accepted envelopes is queued too: the duplicates in it may still wait for
        their commit. `done` never runs if the store is closed before the disk took the batch.
        """
        queue = self._queue
        if not batch.accepted and queue.put_bytes == queue.reported_bytes:
            done()
            return
        queue.put(batch, done)
        if queue.put_bytes - queue.reported_bytes >= MAX_UNCOMMITTED_BYTES:
            self._was_full = True

    put_here = put
    """Queue what other hosts of a cluster have already, or get in another way (see LoggedStore)."""

    @property
    def retention(self) -> Retention:
        """The bounds that it is pruned to."""
        return self.writer.retention.retention

    def retain(self, retention: Retention) -> None:
        """Prune to these bounds from now on. Of the processes of an archive only one has bounds."""
        self.writer.retention.retention = retention
        self.writer.sorting.retention = retention

    async def close(self) -> None:
        """Commit what is queued, end the threads and close the archive."""
        self._queue.close()
        await self._loop.run_in_executor(None, self.writer.join)
        await self._reported.wait()
        self.pages.close()
        await self._loop.run_in_executor(None, self._branches.close)
        self.archive.close()

    def _count_soon(self, counter: str, number: int) -> None:
        """Add to a counter, from the writer thread."""
        self._loop.call_soon_threadsafe(self._counters.add, counter, number)

    # -- what the writer thread reports -------------------------------------------------------

    def _committed(self, entries: list[QueuedBatch], appended: Appended, seconds: float) -> None:
        self.commit_seconds.add(seconds)
        if self.disk_problem:
            log.warning("the archive takes writes again")
            self.disk_problem = ""
        self._counters.add("commits")
        self._counters.add("envelopes_archived", appended.stored)
        self._counters.add("envelopes_archived_before", appended.duplicates)
        if self.on_commit is not None:
            self.on_commit(appended)
        self._reporting += 1
        self._reported.clear()
        self._report(iter(entries))

    def _report(self, entries: Iterator[QueuedBatch]) -> None:
        """Report batches, REPORT_PACKETS at a time. A reported batch frees its memory."""
        packets = 0
        for batch, done in entries:
            try:
                done()
            except Exception:
                log.exception("a batch is on disk, but could not be confirmed")
            self._queue.reported_bytes += batch.memory
            packets += batch.packets
            if packets >= REPORT_PACKETS:
                break
        has_room = self._was_full and not self.full
        self._was_full &= not has_room
        if has_room and self.on_room is not None:
            self.on_room()
        if packets >= REPORT_PACKETS:
            self._loop.call_soon(self._report, entries)
        else:
            self._reporting -= 1
            if not self._reporting:
                self._reported.set()

    def _broke(self) -> None:
        self.disk_problem = "the writer has died"
        log.critical("%s; nothing is archived any more", self.disk_problem)
        if self.on_room is not None:
            self.on_room()
        if self.on_broken is not None:
            self.on_broken()

    def _failed(self, reason: str) -> None:
        if not self.disk_problem:
            log.error("the archive takes no writes, envelopes wait: %s", reason)
            self.disk_problem = reason
            if self.on_room is not None:
                self.on_room()
        self._counters.add("commits_failed")
