"""The writer thread: commits what the queue holds, and prunes and sorts between two commits.

To sync less often, commits are made less often and never left unsynced: if the commits of an LMDB
file are not synced in their order, a power cut may lose the whole file, with what was confirmed.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import chain

from wakumail.archive.archive import Appended, Archive, LogPlace
from wakumail.archive.commit_queue import CommitQueue, QueuedBatch
from wakumail.archive.day_sorting import DaySorting
from wakumail.archive.durability import Durability
from wakumail.archive.retention import RetentionSchedule
from wakumail.errors import ArchiveError
from wakumail.waku.envelope import Batch

log = logging.getLogger(__name__)

BUSY_COMMIT_BYTES = 1 << 20
"""Bytes of memory in a commit after which the writer rests for as long as the commit took. More
envelopes then share the next commit, so that pages of the indexes are written less often. After a
smaller commit it does not rest, because peers may wait for each of them."""

MAX_REST = 0.05
"""Seconds that the writer rests at most; a full commit ends the rest."""

COMMIT_RETRY_INTERVAL = 1.0
"""Seconds between two tries of a commit that failed."""

COMMIT_INTERVAL = 0.3
"""Seconds between two commits with Durability.INTERVAL."""

MAX_ROUND = 60.0
"""Seconds from one round of the writer to the next. It waits at most RETENTION_INTERVAL between
two, so the rest is the time of one slice and one commit on a disk that hangs."""

CommitLock = AbstractContextManager[object]

PlaceOf = Callable[[list[QueuedBatch]], LogPlace | None]
"""Tells the place in the log of a cluster behind the batches of a commit, from the writer thread;
None if the commit does not move it."""


class WriterThread:
    """Commits the batches of a queue to an archive, in a thread of its own. Made on the loop.

    A commit that fails is tried again until the disk takes it. The three functions are called on
    the loop.
    """

    def __init__(
        self,
        archive: Archive,
        queue: CommitQueue,
        retention: RetentionSchedule,
        sorting: DaySorting,
        durability: Durability,
        commit_lock: CommitLock,
        place_of: PlaceOf | None,
        *,
        on_commit: Callable[[list[QueuedBatch], Appended, float], None],
        on_failure: Callable[[str], None],
        on_death: Callable[[], None],
    ) -> None:
        """`commit_lock` is held for each commit.

        on_commit: for the entries of a commit and the seconds that it took; on_failure: for the
        reason why the disk refused one; on_death: for an error of ours that ended the thread.
        """
        self.archive = archive
        self.retention = retention
        self.sorting = sorting
        self._queue = queue
        self._interval = COMMIT_INTERVAL if durability is Durability.INTERVAL else 0.0
        self._commit_lock = commit_lock
        self._place_of = place_of
        self._on_commit = on_commit
        self._on_failure = on_failure
        self._on_death = on_death
        self._loop = asyncio.get_running_loop()
        self._next_commit = 0.0
        """The earliest start of the next commit (time.monotonic), unless a full one waits."""
        self._beat = time.monotonic()
        """The start of the last round (time.monotonic). Only the thread writes this."""
        self._thread = threading.Thread(target=self._write, name="archive-writer")
        self._thread.start()

    @property
    def goes_on(self) -> bool:
        """False if the thread has ended, or one prune or commit takes over MAX_ROUND."""
        return self._thread.is_alive() and time.monotonic() - self._beat <= MAX_ROUND

    def join(self) -> None:
        """Wait until the thread has ended, which it does once the queue is closed."""
        self._thread.join()

    def _write(self) -> None:
        try:
            while not self._queue.finished:
                self._beat = time.monotonic()
                self.retention.prune_if_due(self.archive)
                self.sorting.sort_if_due(self.archive, busy=not self._queue.empty)
                next_look = min(self.retention.next_look, self.sorting.next_look)
                self._queue.wait(next_look, self._next_commit)
                with self._commit_lock:
                    entries = self._queue.take()
                    done = not entries or self._commit(entries)
                if not done and not self._retry(entries):
                    return
        except Exception:
            self._loop.call_soon_threadsafe(self._on_death)
            raise

    def _commit(self, entries: list[QueuedBatch]) -> bool:
        """Append the entries; False if the disk refused them."""
        begun = time.monotonic()
        try:
            batches = [batch for batch, _ in entries]
            if self._place_of is None:
                appended = self.archive.append(batches)
            else:
                appended = self.archive.append(batches, self._place_of(entries))
        except ArchiveError as error:
            self._loop.call_soon_threadsafe(self._on_failure, str(error))
            return False
        ended = time.monotonic()
        seconds = ended - begun
        busy = sum(batch.memory for batch, _ in entries) >= BUSY_COMMIT_BYTES
        rest = min(seconds, MAX_REST) if busy else 0.0
        self._next_commit = max(begun + self._interval, ended + rest)
        self._loop.call_soon_threadsafe(self._on_commit, entries, appended, seconds)
        return True

    def _retry(self, entries: list[QueuedBatch]) -> bool:
        """Commit until the disk takes it; False if the queue is closed before it does."""
        while True:
            if self._queue.wait_closed(COMMIT_RETRY_INTERVAL):
                log.error("closing: the disk refused the last envelopes, none was confirmed")
                return False
            self._beat = time.monotonic()
            self._make_room([batch for batch, _ in chain(entries, self._queue.waiting())])
            with self._commit_lock:
                if self._commit(entries):
                    return True

    def _make_room(self, refused: list[Batch]) -> None:
        """Prune what is due, for the room that these batches may miss."""
        until = time.monotonic() + COMMIT_RETRY_INTERVAL
        while self.retention.prune_if_due(self.archive, refused):
            if time.monotonic() >= until:
                return
