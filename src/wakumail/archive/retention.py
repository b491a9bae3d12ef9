"""Retention: the bounds of an archive, and when it is pruned to keep them."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from wakumail.archive.archive import Archive
from wakumail.archive.results import Day
from wakumail.errors import ArchiveError
from wakumail.waku.envelope import MAX_TIME, Batch, Verdict

log = logging.getLogger(__name__)

PRUNE_SLICE = 500
"""Envelopes that one slice deletes where it cannot delete a whole day. It takes a millisecond
between two commits, or a quarter of a second if none of the pages is in memory."""

PRUNE_DAY = 2_000_000
"""Envelopes of the largest day that one slice deletes whole, at a fraction of the cost of each."""

DAY = 86400

AFTER_ALL = MAX_TIME + 1
"""Unix seconds behind all creation times."""

MAX_AHEAD = 3600.0
"""Seconds that the clock may be ahead of what the archive and the monotonic clock show."""

SHOWING = 10
"""Envelopes that a day needs to show that it has come. A few may be of our own clock, wrong as it
is: those that were posted here."""

RETENTION_INTERVAL = 10.0
"""Seconds from a look that found nothing to prune to the next look."""


@dataclass(frozen=True, slots=True)
class Retention:
    """The bounds of an archive. The oldest envelopes are pruned first; 0 sets no bound."""

    seconds: int
    """Age by creation time. Whole days (UTC) are pruned, so some envelopes stay a day longer."""
    max_size: int
    """Size of the archive's pages in use. The file itself is up to a tenth larger."""
    sort_days: bool
    """True to sort days that are over by topic (see day_sorting.py)."""


KEEP_EVERYTHING = Retention(seconds=0, max_size=0, sort_days=False)


def slice_limit(days: Sequence[Day], before: int, least: int) -> int:
    """Envelopes for one slice of pruning to `before`: those of the first day, or `least`.

    days: of the archive. A day is deleted whole if all of it is older, and it is not too large.
    """
    if days and days[0].start + DAY <= before and days[0].envelopes <= PRUNE_DAY:
        return max(least, days[0].envelopes)
    return least


def frees_at_end(days: Sequence[Day]) -> bool:
    """True if the first day is sorted: its pages become free when the last of it is deleted.

    So a bound of the size can as well have all of it deleted at once.
    """
    return bool(days) and days[0].unsorted * 8 < days[0].envelopes


class TrustedClock:
    """The time that envelopes are deleted by.

    A clock that jumps ahead would delete all history. So it may run only as fast as the monotonic
    clock, from a time that the archive has shown: envelopes are archived only within seconds of
    their creation, so the newest of them tells how far the clock has certainly come.
    """

    def __init__(self) -> None:
        self._time = 0.0
        """Unix seconds that were trusted at `_seen`; 0 before the first look."""
        self._seen = 0.0
        self._doubted = False

    def now(self, shown: float) -> tuple[float, bool]:
        """Unix seconds to act by, and False if the clock is ahead of them.

        `shown` is the newest creation time that the archive shows, in Unix seconds.
        """
        wall, monotonic = time.time(), time.monotonic()
        expected = self._time + monotonic - self._seen if self._time else 0.0
        trusted = max(expected, shown)
        ahead = wall - trusted
        is_right = ahead <= MAX_AHEAD
        self._time, self._seen = min(wall, trusted + MAX_AHEAD) if is_right else trusted, monotonic
        if is_right is self._doubted:
            self._doubted = not is_right
            if is_right:
                log.warning("the archive shows that the clock is right: pruning by age goes on")
            else:
                log.warning(
                    "the clock is %.1f days ahead of the newest envelopes and of the time since the"
                    " last look: nothing is pruned by it until new envelopes show that it is right",
                    ahead / DAY,
                )
        return self._time, is_right


class RetentionSchedule:
    """Prunes an archive to the bounds of a Retention, one slice at a time.

    The writer thread calls it between two commits. `count` adds to a counter, and is called in
    that thread.
    """

    def __init__(self, retention: Retention, count: Callable[[str, int], None]) -> None:
        self.retention = retention
        """May be replaced at any time, by any thread."""
        self.next_look = 0.0
        """The time of the next look (time.monotonic)."""
        self._count = count
        self._clock = TrustedClock()

    def prune_if_due(self, archive: Archive, waiting: Iterable[Batch] = ()) -> None:
        """Prune one slice, however busy the queue is: otherwise a full archive would only grow.

        `waiting` are batches that the disk has refused. On a full disk they alone can show that the
        clock is right, for the archive gets no newer envelope until something old is deleted.
        """
        if time.monotonic() >= self.next_look and not self._prune(archive, waiting):
            self.next_look = time.monotonic() + RETENTION_INTERVAL

    def _prune(self, archive: Archive, waiting: Iterable[Batch]) -> bool:
        """Delete a slice of the envelopes that exceed a bound; True if there may be more."""
        retention = self.retention  # once: with the half of two bounds all but today would go
        before, limit = 0, PRUNE_SLICE
        try:
            days = archive.days()
            if retention.seconds and days:
                shown = max(newest_shown(archive, days), waiting_shown(waiting))
                now, is_right = self._clock.now(shown)
                if not is_right:
                    self._count("clock_doubted", 1)
                before = max(0, int(now) - retention.seconds) // DAY * DAY
            limit = slice_limit(days, before, limit)
            if retention.max_size and archive.stat().file_bytes > retention.max_size:
                before = AFTER_ALL
                if frees_at_end(days):
                    limit = slice_limit(days, before, limit)
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


def newest_shown(archive: Archive, days: list[Day]) -> float:
    """The newest creation time (Unix seconds) of a day with enough envelopes, or else of all."""
    newest = archive.stat().newest or 0
    full = [day.start for day in days if day.envelopes >= SHOWING]
    return min(newest, full[-1] + DAY - 1) if full else newest


def waiting_shown(batches: Iterable[Batch]) -> float:
    """The creation time (Unix seconds) that the first envelopes to be archived show; 0 if too few.

    They were judged like those in the archive, and as many are needed.
    """
    created: list[int] = []
    for batch in batches:
        for index in range(len(batch)):
            if batch.verdict(index) is Verdict.ACCEPTED:
                created.append(batch[index].created)
                if len(created) == SHOWING:
                    return min(created)
    return 0.0
