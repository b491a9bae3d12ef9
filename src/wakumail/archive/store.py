"""The store: one thread that writes what the network brings, a few that read what it asks for.

The writer takes everything that is queued, commits it in one synced transaction and only then
reports it done, so a confirmation always means: on disk. While the disk refuses (full, failing)
the queue waits and the store says that it is degraded; whoever feeds it sheds what it has no room
for, and reading goes on.

To sync less often, commits are made less often, and never left unsynced: an LMDB file whose
commits were not synced in their order may be lost whole in a power cut, with what was confirmed.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import StrEnum

from wakumail.archive.archive import Appended, Archive, Page, Query
from wakumail.base.histograms import SECONDS, Histogram
from wakumail.base.threads import CompiledThreads
from wakumail.counters import Counters
from wakumail.errors import ArchiveError
from wakumail.waku.envelope import MAX_TIME, Batch

log = logging.getLogger(__name__)

MAX_QUEUED_BYTES = 24 << 20
"""Bytes of memory that may wait for their commit; above it the store asks for a pause."""

MAX_COMMIT_BYTES = 8 << 20
"""Bytes of memory that one commit takes from the queue: bounds its time and its dirty pages."""

BUSY_COMMIT_BYTES = 1 << 20
"""Bytes of memory in a commit after which the writer rests for as long as it took: with more in the
next one, pages of the indexes are written less often. Peers may wait for each of smaller ones."""

MAX_REST = 0.05
"""Seconds that the writer rests at most; a full commit ends it."""

REPORTS = 256
"""Packets that are reported done before the loop turns to others."""

RETRY_INTERVAL = 1.0
"""Seconds between two tries of a commit that failed."""

SLICE_ENTRIES = 50_000
"""Index entries that a page may look at before others get their turn: about a millisecond."""

READERS = 4
"""Threads for reading; LMDB readers do not block each other or the writer."""

INTERVAL = 0.3
"""Seconds between two commits with Durability.INTERVAL."""

PRUNE_ENVELOPES = 500
"""Envelopes that one slice of retention deletes where it cannot delete a whole day: a millisecond
between two commits, or a quarter of a second where none of the pages is in memory."""

PRUNE_DAY = 2_000_000
"""Envelopes of a day that is deleted at once, which costs a fraction of deleting each."""

DAY = 86400

AFTER_ALL = MAX_TIME + 1
"""Unix seconds behind all creation times."""

RETENTION_INTERVAL = 10.0
"""Seconds between two looks for what is to be pruned, while nothing is."""

Done = Callable[[], None]
CommitLock = AbstractContextManager[object]
Entry = tuple[Batch, Done]
"""What waits for its commit."""


@dataclass(frozen=True, slots=True)
class Retention:
    """What the archive keeps; the oldest goes first, and 0 sets no bound."""

    seconds: int = 0
    """Age by creation time; whole days (UTC) go, so some are kept for a day longer."""
    bytes: int = 0
    """Size of the archive's pages in use; the file itself is up to a tenth larger."""


class Durability(StrEnum):
    """When queued envelopes are committed; each commit is synced before it is confirmed."""

    COMMIT = "commit"
    """At once, with all that came while the last commit was written."""
    INTERVAL = "interval"
    """Every INTERVAL seconds: fewer syncs, later confirmations."""


class Store:
    """An archive behind one event loop."""

    def __init__(
        self,
        archive: Archive,
        counters: Counters,
        durability: Durability = Durability.COMMIT,
        retention: Retention = Retention(),
        commit_lock: CommitLock | None = None,
    ) -> None:
        """`commit_lock` is held for each commit, where several processes commit to the archive."""
        self.archive = archive
        self.degraded = ""
        """Why the archive takes no writes at the moment; empty when it does."""
        self.on_room: Callable[[], None] | None = None
        """Called on the loop when a full queue has room again, or the disk refuses writes."""
        self.on_commit: Callable[[Appended], None] | None = None
        """Called on the loop after each commit, before it is reported to those who wait for it."""
        self.on_broken: Callable[[], None] | None = None
        """Called on the loop when the writer has died of an error of ours."""
        self.commit_seconds = Histogram(SECONDS)
        """How long commits take."""
        self._counters = counters
        self._interval = INTERVAL if durability is Durability.INTERVAL else 0.0
        self._retention = retention
        self._commit_lock: CommitLock = commit_lock or nullcontext()
        self._next_prune = 0.0
        self._loop = asyncio.get_running_loop()
        self._readers = CompiledThreads(READERS)
        self._rooms = asyncio.Semaphore(2 * READERS)
        """Pages that have memory at a time: twice as many as are read, so that no thread waits."""
        self._changed = threading.Condition()
        self._queue: deque[Entry] = deque()
        self._put_bytes = 0
        """That were ever queued: counted by the loop, as those taken are by the writer."""
        self._taken_bytes = 0
        self._next_commit = 0.0
        self._queued_bytes = 0
        self._was_full = False
        self._reporting = 0
        self._reported = asyncio.Event()
        self._reported.set()
        self._closing = False
        self._writer = threading.Thread(target=self._write, name="archive-writer")
        self._writer.start()

    @property
    def queued_bytes(self) -> int:
        """Bytes of memory that wait for their commit, or to be reported after it."""
        return self._queued_bytes

    @property
    def full(self) -> bool:
        """Whether the queue is over its bound; whoever feeds it should pause until `on_room`."""
        return self._queued_bytes >= MAX_QUEUED_BYTES

    @property
    def overfull(self) -> bool:
        """Whether peers that were not paused yet have filled the queue twice over."""
        return self._queued_bytes >= 2 * MAX_QUEUED_BYTES

    def put(self, batch: Batch, done: Done) -> None:
        """Queue the accepted envelopes of `batch`; `done` runs on the loop once they are on disk.

        So is a batch that has none accepted: the duplicates in it may still wait for their commit.
        `done` never runs when the store is closed before the disk took the batch.
        """
        if not batch.accepted and not self._queued_bytes:
            done()
            return
        self._queue.append((batch, done))
        self._put_bytes += batch.memory
        self._queued_bytes += batch.memory
        self._was_full |= self.full
        if len(self._queue) == 1 or self._has_commit:  # else the writer was told before
            with self._changed:
                self._changed.notify()

    async def page(self, query: Query, position: bytes, *, limit: int, max_bytes: int) -> Page:
        """The next slice of an answer, read in another thread (see Archive.page)."""
        async with self._rooms:
            job = self.archive.reading(
                query, position, limit=limit, max_bytes=max_bytes, budget=SLICE_ENTRIES
            )
            return await self._readers.run(job)

    def retain(self, retention: Retention) -> None:
        """Keep so much from now on: one of those who share an archive deletes for all."""
        self._retention = retention

    async def close(self) -> None:
        """Commit what is queued, end the threads and close the archive."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        await self._loop.run_in_executor(None, self._writer.join)
        await self._reported.wait()
        self._readers.close()
        self.archive.close()

    @property
    def _has_commit(self) -> bool:
        """Whether as much waits as one commit takes; what waits to be reported does not count."""
        return self._put_bytes - self._taken_bytes >= MAX_COMMIT_BYTES

    # -- the writer thread --------------------------------------------------------------------

    def _write(self) -> None:
        try:
            while not self._closing or self._queue:
                self._prune_if_due()
                self._wait()
                with self._commit_lock:
                    entries = self._take()
                    done = not entries or self._commit(entries)
                if not done and not self._retry(entries):
                    return
        except Exception:
            self._loop.call_soon_threadsafe(self._broke)
            raise

    def _wait(self) -> None:
        """Wait for what is to be committed, or until it is time to close or to prune."""
        with self._changed:
            idle = self._next_prune - time.monotonic()
            if self._changed.wait_for(lambda: self._queue or self._closing, max(0.0, idle)):
                self._changed.wait_for(
                    lambda: self._has_commit or self._closing,
                    self._next_commit - time.monotonic(),
                )

    def _take(self) -> list[Entry]:
        """Take as many entries as one commit holds."""
        with self._changed:
            entries: list[Entry] = []
            size = 0
            while self._queue and size < MAX_COMMIT_BYTES:
                entries.append(self._queue.popleft())
                size += entries[-1][0].memory
            self._taken_bytes += size
            return entries

    def _prune_if_due(self) -> None:
        """A slice between two commits, however busy the queue is: else it would grow old."""
        if time.monotonic() >= self._next_prune and not self._prune():
            self._next_prune = time.monotonic() + RETENTION_INTERVAL

    def _prune(self) -> bool:
        """Delete a slice of what is too old or too much; whether there may be more."""
        before, limit = 0, PRUNE_ENVELOPES
        if self._retention.seconds:
            before = max(0, int(time.time()) - self._retention.seconds) // DAY * DAY
        try:
            days = self.archive.days()
            if days and days[0].start < before and days[0].envelopes <= PRUNE_DAY:
                limit = max(limit, days[0].envelopes)
            if self._retention.bytes and self.archive.stat().file_bytes > self._retention.bytes:
                before = AFTER_ALL
            if not days or not before:
                return False
            pruned = self.archive.prune(before, limit=limit)
        except ArchiveError as error:
            log.error("pruning failed: %s", error)
            self._loop.call_soon_threadsafe(self._counters.add, "prunes_failed")
            return False
        if pruned.envelopes:
            self._loop.call_soon_threadsafe(
                self._counters.add, "envelopes_pruned", pruned.envelopes
            )
        return pruned.more

    def _commit(self, entries: list[Entry]) -> bool:
        """Append; whether the disk took it."""
        begun = time.monotonic()
        try:
            appended = self.archive.append([batch for batch, _ in entries])
        except ArchiveError as error:
            self._loop.call_soon_threadsafe(self._failed, str(error))
            return False
        ended = time.monotonic()
        seconds = ended - begun
        busy = sum(batch.memory for batch, _ in entries) >= BUSY_COMMIT_BYTES
        rest = min(seconds, MAX_REST) if busy else 0.0
        self._next_commit = max(begun + self._interval, ended + rest)
        self._loop.call_soon_threadsafe(self._committed, entries, appended, seconds)
        return True

    def _retry(self, entries: list[Entry]) -> bool:
        """Append until the disk takes it; False when the store closes before it does."""
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._closing, timeout=RETRY_INTERVAL):
                    log.error("closing with envelopes that the disk refused; none was confirmed")
                    return False
            self._prune_if_due()  # it may make the room that is missing
            with self._commit_lock:
                if self._commit(entries):
                    return True

    # -- on the loop --------------------------------------------------------------------------

    def _committed(self, entries: list[Entry], appended: Appended, seconds: float) -> None:
        self.commit_seconds.add(seconds)
        if self.degraded:
            log.warning("the archive takes writes again")
            self.degraded = ""
        self._counters.add("commits")
        self._counters.add("envelopes_archived", appended.stored)
        self._counters.add("envelopes_archived_before", appended.duplicates)
        if self.on_commit is not None:
            self.on_commit(appended)
        self._reporting += 1
        self._reported.clear()
        self._report(iter(entries))

    def _report(self, entries: Iterator[Entry]) -> None:
        """Say what is done, some at a time; what is said no longer takes memory."""
        packets = 0
        for batch, done in entries:
            try:
                done()
            except Exception:
                log.exception("a batch is on disk, but could not be confirmed")
            self._queued_bytes -= batch.memory
            packets += batch.packets
            if packets >= REPORTS:
                break
        has_room = self._was_full and not self.full
        self._was_full &= not has_room
        if has_room and self.on_room is not None:
            self.on_room()
        if packets >= REPORTS:
            self._loop.call_soon(self._report, entries)
        else:
            self._reporting -= 1
            if not self._reporting:
                self._reported.set()

    def _broke(self) -> None:
        self.degraded = "the writer has died"
        log.critical("%s; nothing is archived any more", self.degraded)
        if self.on_room is not None:
            self.on_room()
        if self.on_broken is not None:
            self.on_broken()

    def _failed(self, reason: str) -> None:
        if not self.degraded:
            log.error("the archive takes no writes, envelopes wait: %s", reason)
            self.degraded = reason
            if self.on_room is not None:
                self.on_room()
        self._counters.add("commits_failed")
