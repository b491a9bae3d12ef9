"""The store of a host in a cluster: it reports what the log has, and its own disk."""

from collections.abc import Callable

from wakumail.archive.archive import Archive
from wakumail.archive.durability import Durability
from wakumail.archive.retention import Retention
from wakumail.archive.store import MAX_UNCOMMITTED_BYTES, Store
from wakumail.archive.writer_thread import CommitLock
from wakumail.counters import Counters
from wakumail.ops.cluster.placed import Placed, place_of
from wakumail.ops.cluster.publisher import Publisher
from wakumail.waku.envelope import Batch


class LoggedStore(Store):
    """A store that gives to the log what it is given, and stores it once the log has it.

    `put_here` stores at once, and only here. A member of the cluster sets `publisher` before
    anything is put.
    """

    publisher: Publisher

    def __init__(
        self,
        archive: Archive,
        counters: Counters,
        *,
        durability: Durability,
        retention: Retention,
        last_trusted: float = 0.0,
        commit_lock: CommitLock | None = None,
    ) -> None:
        self.log_problem = ""
        """The reason for which the log takes nothing now; empty while it does."""
        self.awaited_bytes = 0
        """Bytes of memory of batches that the log does not have yet."""
        super().__init__(
            archive,
            counters,
            durability=durability,
            retention=retention,
            last_trusted=last_trusted,
            commit_lock=commit_lock,
            place_of=place_of,
        )

    @property
    def degraded(self) -> str:
        """The reason for which nothing is confirmed now; empty while it is."""
        return self.disk_problem or self.log_problem

    @property
    def queued_bytes(self) -> int:
        """Bytes of memory that wait for the log or for their commit."""
        return self.awaited_bytes + super().queued_bytes

    @property
    def full(self) -> bool:
        """True if too much waits: callers should pause until `on_room`."""
        return self.queued_bytes >= MAX_UNCOMMITTED_BYTES

    @property
    def overfull(self) -> bool:
        """True if peers that were not paused yet have sent as much again."""
        return self.queued_bytes >= 2 * MAX_UNCOMMITTED_BYTES

    @property
    def full_here(self) -> bool:
        """True if too much waits for a commit: nothing more should be read from the log."""
        return super().full

    def put(self, batch: Batch, done: Callable[[], None]) -> None:
        """Queue the accepted envelopes of `batch`; `done` runs once log and disk have them.

        Those of a batch without any wait for what was put before.
        """
        if not batch.accepted and self.publisher.newest.reported:
            self.put_here(batch, done)
            return
        self.awaited_bytes += batch.memory
        self.publisher.put(batch, done)
        if self.full:
            self._was_full = True

    def put_here(self, batch: Batch, done: Callable[[], None]) -> None:
        """Queue a batch that needs no log. One that moves the place is committed, if empty too."""
        if batch.accepted or not isinstance(done, Placed):
            super().put(batch, done)
        else:
            self._queue.put(batch, done)
