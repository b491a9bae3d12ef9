"""Batches that move the place of the archive in the log."""

from collections.abc import Callable

from wakumail.archive.commit_queue import QueuedBatch
from wakumail.archive.results import LogPlace


class Placed:
    """Reports a batch; everything up to a place of the log is in the archive with it."""

    __slots__ = ("_done", "place")

    def __init__(self, place: LogPlace, done: Callable[[], None]) -> None:
        self.place = place
        self._done = done

    def __call__(self) -> None:
        """Report the batch."""
        self._done()


def place_of(entries: list[QueuedBatch]) -> LogPlace | None:
    """The place in the log behind the entries of a commit."""
    for _, done in reversed(entries):
        if isinstance(done, Placed):
            return done.place
    return None
