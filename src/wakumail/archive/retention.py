"""Retention: the bounds of an archive, and when it is pruned to keep them."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from wakumail.archive.archive import Archive
from wakumail.errors import ArchiveError
from wakumail.waku.envelope import MAX_TIME

log = logging.getLogger(__name__)

PRUNE_SLICE = 500
"""Envelopes that one slice deletes where it cannot delete a whole day. It takes a millisecond
between two commits, or a quarter of a second if none of the pages is in memory."""

PRUNE_DAY = 2_000_000
"""Envelopes of the largest day that one slice deletes whole, at a fraction of the cost of each."""

DAY = 86400

AFTER_ALL = MAX_TIME + 1
"""Unix seconds behind all creation times."""

RETENTION_INTERVAL = 10.0
"""Seconds from a look that found nothing to prune to the next look."""


@dataclass(frozen=True, slots=True)
class Retention:
    """The bounds of an archive. The oldest envelopes are pruned first; 0 sets no bound."""

    seconds: int
    """Age by creation time. Whole days (UTC) are pruned, so some envelopes stay a day longer."""
    max_size: int
    """Size of the archive's pages in use. The file itself is up to a tenth larger."""


KEEP_EVERYTHING = Retention(seconds=0, max_size=0)


class RetentionSchedule:
    """Prunes an archive to the bounds of a Retention, one slice at a time.

    The writer thread calls it between two commits. `count` adds to a counter, and is called in
    that thread.
    """

    def __init__(self, retention: Retention, count: Callable[[str, int], None]) -> None:
        self.retention = retention
        """May be replaced at any time, by any thread."""
        self.next_look = 0.0
        """When to look again (time.monotonic)."""
        self._count = count

    def prune_if_due(self, archive: Archive) -> None:
        """Prune one slice, however busy the queue is: otherwise a full archive would only grow."""
        if time.monotonic() >= self.next_look and not self._prune(archive):
            self.next_look = time.monotonic() + RETENTION_INTERVAL

    def _prune(self, archive: Archive) -> bool:
        """Delete a slice of the envelopes that exceed a bound; True if there may be more."""
        before, limit = 0, PRUNE_SLICE
        if self.retention.seconds:
            before = max(0, int(time.time()) - self.retention.seconds) // DAY * DAY
        try:
            days = archive.days()
            if days and days[0].start < before and days[0].envelopes <= PRUNE_DAY:
                limit = max(limit, days[0].envelopes)
            if self.retention.max_size and archive.stat().file_bytes > self.retention.max_size:
                before = AFTER_ALL
            if not days or not before:
                return False
            pruned = archive.prune(before, limit=limit)
        except ArchiveError as error:
            log.error("pruning failed: %s", error)
            self._count("prunes_failed", 1)
            return False
        if pruned.envelopes:
            self._count("envelopes_pruned", pruned.envelopes)
        return pruned.more
