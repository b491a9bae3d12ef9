"""The queue of batches that wait for their commit: the loop puts them, the writer takes them."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from wakumail.waku.envelope import Batch

MAX_COMMIT_BYTES = 8 << 20
"""Bytes of memory that one commit takes from the queue: bounds its time and its dirty pages."""

QueuedBatch = tuple[Batch, Callable[[], None]]
"""A batch, and the function that reports it once it is on disk."""


class CommitQueue:
    """Batches in the order in which they came.

    Its three totals count bytes of memory since the start and never go down. Each is written by
    one thread alone, so that `put` need not lock.
    """

    def __init__(self) -> None:
        self.put_bytes = 0
        """Bytes ever put. Only the event loop writes this."""
        self.taken_bytes = 0
        """Bytes ever taken for a commit. Only the writer thread writes this."""
        self.reported_bytes = 0
        """Bytes ever reported after their commit. Only the event loop writes this."""
        self._batches: deque[QueuedBatch] = deque()
        self._closing = False
        self._changed = threading.Condition()

    def put(self, batch: Batch, done: Callable[[], None]) -> None:
        """Append a batch, and wake the writer if it waits for this one."""
        self._batches.append((batch, done))
        self.put_bytes += batch.memory
        # The writer waits for a first batch, then for a full commit; it was woken for all others.
        if len(self._batches) == 1 or self.put_bytes - self.taken_bytes >= MAX_COMMIT_BYTES:
            with self._changed:
                self._changed.notify()

    def close(self) -> None:
        """Wake the writer for the last time: it takes the rest without waiting."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    # -- for the writer thread ----------------------------------------------------------------

    @property
    def empty(self) -> bool:
        """True if no batch waits to be taken."""
        return not self._batches

    @property
    def finished(self) -> bool:
        """True if the queue is closed and everything was taken."""
        return self._closing and not self._batches

    def wait(self, idle_until: float, commit_at: float) -> None:
        """Wait for a first batch until `idle_until`, then for a full commit until `commit_at`.

        Both are times of time.monotonic. A closed queue ends both waits.
        """
        with self._changed:
            idle = max(0.0, idle_until - time.monotonic())
            if self._changed.wait_for(lambda: self._batches or self._closing, idle):
                self._changed.wait_for(
                    lambda: self._has_commit() or self._closing, commit_at - time.monotonic()
                )

    def wait_closed(self, seconds: float) -> bool:
        """Wait until the queue is closed, for at most `seconds`; True if it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closing, seconds)

    def waiting(self) -> Iterator[QueuedBatch]:
        """The batches that are not taken yet, in their order; the loop may put more meanwhile."""
        for place in range(len(self._batches)):
            yield self._batches[place]

    def take(self) -> list[QueuedBatch]:
        """Remove and return the batches of one commit; none if the queue is empty."""
        batches: list[QueuedBatch] = []
        size = 0
        while self._batches and size < MAX_COMMIT_BYTES:
            batches.append(self._batches.popleft())
            size += batches[-1][0].memory
        self.taken_bytes += size
        return batches

    def _has_commit(self) -> bool:
        """True if a full commit waits. Batches that wait to be reported do not count."""
        return self.put_bytes - self.taken_bytes >= MAX_COMMIT_BYTES
