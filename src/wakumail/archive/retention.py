"""Retention: the bounds of an archive, and when it is pruned to keep them."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from wakumail.archive.archive import Archive
from wakumail.archive.results import Day, Pruned
from wakumail.base.text import in_time
from wakumail.errors import ArchiveError
from wakumail.waku.envelope import MAX_TIME, Batch, Verdict

log = logging.getLogger(__name__)

PRUNE_SLICE = 500
"""Envelopes that one slice deletes where it cannot delete a whole day. It takes a millisecond
between two commits, or a quarter of a second if none of the pages is in memory."""

PRUNE_DAY = 2_000_000
"""Envelopes of the largest day that is deleted whole, at a fraction of the cost of each. The rows
of 1,000,000 take some hundredths of a second of one commit; the rest goes in short slices."""

PAUSE = 3.0
"""Times as long as a slice took without deleting an envelope, others have the archive after it."""

DAY = 86400

AFTER_ALL = MAX_TIME + 1
"""Unix seconds behind all creation times."""

MAX_AHEAD = 3600.0
"""Seconds that the clock may be ahead of what the archive and the monotonic clock show. By more it
does not run ahead of the monotonic clock but in a step."""

SHOWING = 10
"""Envelopes that show together that a time has come. A few may be of our own clock, wrong as it is:
those that were posted here."""

STEADY = 6 * 3600.0
"""Seconds that a clock has to run after a step until envelopes can show that it is right. A host
that sets its clock by others asks them more often."""

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


NOTHING = Pruned(envelopes=0, bytes=0, more=False)

KEEP_EVERYTHING = Retention(seconds=0, max_size=0, sort_days=False)


def pause_after(pruned: Pruned, seconds: float) -> float:
    """Seconds from a slice, which took `seconds`, to the next one.

    None while single envelopes are deleted: that has to keep up with those that arrive.
    """
    return 0.0 if pruned.envelopes or not pruned.more else PAUSE * seconds


def slice_limit(days: Sequence[Day], before: int, least: int) -> int:
    """Envelopes for one slice of pruning to `before`: those of the first day, or `least`.

    days: of the archive. A day is deleted whole if all of it is older, and it is not too large.
    """
    day = first_with_envelopes(days)
    if day is not None and day.start + DAY <= before and day.envelopes <= PRUNE_DAY:
        return max(least, day.envelopes)
    return least


def frees_at_end(days: Sequence[Day]) -> bool:
    """True if the first day is sorted: its pages become free when the last of it is deleted.

    So a bound of the size can as well have all of it deleted at once.
    """
    day = first_with_envelopes(days)
    return day is not None and day.unsorted * 8 < day.envelopes


def first_with_envelopes(days: Sequence[Day]) -> Day | None:
    """The first day that is not deleted yet: of those before it, at most bytes are left."""
    return next((day for day in days if day.envelopes), None)


class TrustedClock:
    """The time that envelopes are deleted by.

    A clock that jumps ahead would delete all history. So it may run only as fast as the monotonic
    clock, from the time that the last run trusted or the archive shows: envelopes are archived only
    within seconds of their creation, so the newest of them tell how far the clock has certainly
    come. But a wrong clock takes envelopes of its own time, ours and those of strangers. So once it
    has stepped ahead they prove nothing until it has run for STEADY, in which a wrong one is set
    right. The first look, too, is a step if the clock is then ahead of what was trusted.
    """

    def __init__(self, last: float = 0.0) -> None:
        """`last`: Unix seconds that the last run trusted; 0 if that is not known."""
        self._trusted = last
        """Unix seconds that were trusted at `_seen`."""
        self._shown = 0.0
        """Unix seconds that had been shown by then, to be trusted if the clock runs on."""
        self._seen: float | None = None
        """The time of the last look (time.monotonic)."""
        self._offset = math.inf
        """Seconds from the monotonic clock to the clock, at its last step."""
        self._stepped = -math.inf
        """The time of that step (time.monotonic); in the past for ever if it is in no doubt."""

    def now(self, shown: float) -> tuple[float, float]:
        """Unix seconds to act by, and the seconds that the clock is ahead of them; 0 if believed.

        `shown` is the newest creation time that the archive shows, in Unix seconds.
        """
        wall, monotonic = time.time(), time.monotonic()
        if self._seen is None:
            self._trusted, self._seen = self._trusted or shown, monotonic
        passed = monotonic - self._seen
        trusted, shown = self._trusted + passed, max(self._shown + passed, shown)
        if abs(wall - monotonic - self._offset) > MAX_AHEAD:
            self._offset, self._stepped = wall - monotonic, monotonic
        if monotonic - self._stepped >= STEADY:
            trusted = max(trusted, shown)
        self._trusted, self._shown = min(wall, trusted), min(wall, shown)
        self._seen = monotonic
        ahead = wall - self._trusted
        if ahead <= MAX_AHEAD:
            ahead, self._stepped = 0.0, -math.inf
        return self._trusted, ahead


class RetentionSchedule:
    """Prunes an archive to the bounds of a Retention, one slice at a time.

    The writer thread calls it between two commits. `count` adds to a counter, and is called in
    that thread. `last`: see TrustedClock.
    """

    def __init__(
        self, retention: Retention, count: Callable[[str, int], None], last: float = 0.0
    ) -> None:
        self.retention = retention
        """May be replaced at any time, by any thread."""
        self.next_look = 0.0
        """The time of the next look (time.monotonic)."""
        self._count = count
        self._clock = TrustedClock(last)
        self._waits = False
        """True while something is kept only because the clock is ahead."""

    def prune_if_due(self, archive: Archive, refused: Sequence[Batch] = ()) -> bool:
        """Prune one slice, however busy the queue is: otherwise a full archive would only grow.

        `refused` are batches that the disk has refused. On a full disk they alone can show that the
        clock is right, for the archive gets no newer envelope until something old is deleted. And
        nothing else can be written then, so there are no pauses. True if a slice was pruned and
        another one is due.
        """
        begun = time.monotonic()
        if begun < self.next_look:
            return False
        pruned = self._prune(archive, refused)
        ended = time.monotonic()
        if not pruned.more:
            self.next_look = ended + RETENTION_INTERVAL
        elif not refused:
            self.next_look = ended + pause_after(pruned, ended - begun)
        return pruned.more

    def _doubt(self, ahead: float, *, waits: bool) -> None:
        """Count that pruning waits for a proof of the clock, and log when that begins and ends."""
        if waits:
            self._count("clock_doubted", 1)
        if waits is self._waits:
            return
        self._waits = waits
        if waits:
            log.warning(
                "the clock is %s ahead of the time that the envelopes and the last look bear"
                " out: nothing is pruned by it until new envelopes show that it is right, and it"
                " has run for %d hours without a step",
                in_time(ahead),
                STEADY // 3600,
            )
        else:
            log.warning("the clock is right: pruning by age goes on")

    def _prune(self, archive: Archive, refused: Sequence[Batch]) -> Pruned:
        """Delete a slice of the envelopes that exceed a bound."""
        retention = self.retention  # once: with the half of two bounds all but today would go
        before, limit = 0, PRUNE_SLICE
        try:
            days = archive.days()
            if retention.seconds:
                wall = time.time()  # an archive without a day can lose none by it
                shown = newest_shown(archive, days, wall + MAX_AHEAD) if days else wall
                shown = max(shown, refused_shown(refused))
                now, ahead = self._clock.now(shown)
                before = first_day_kept(now, retention)
                by_clock = first_day_kept(now + ahead, retention)
                self._doubt(ahead, waits=any(before <= day.start < by_clock for day in days))
            limit = slice_limit(days, before, limit)
            if retention.max_size and archive.stat().file_bytes > retention.max_size:
                before = AFTER_ALL
                if frees_at_end(days):
                    limit = slice_limit(days, before, limit)
            if not days or not before:
                return NOTHING
            pruned = archive.prune(before, limit=limit)
        except ArchiveError as error:
            log.error("pruning failed: %s", error)
            self._count("prunes_failed", 1)
            return NOTHING
        if pruned.envelopes:
            self._count("envelopes_pruned", pruned.envelopes)
        return pruned


def first_day_kept(now: float, retention: Retention) -> int:
    """The start of the first day (Unix seconds) that the bound of the age keeps at `now`."""
    return max(0, int(now) - retention.seconds) // DAY * DAY


def newest_shown(archive: Archive, days: Sequence[Day], until: float) -> float:
    """The newest creation time (Unix seconds) that SHOWING envelopes show together.

    It is of the day of the last of them, counted from the newest one back; fewer show only the
    oldest of all. Days that begin after `until` show nothing: an import may bring them.
    """
    stat = archive.stat()
    count = 0
    for day in reversed(days):
        if day.start <= until:
            count += day.envelopes
            if count >= SHOWING:
                return min(stat.newest or 0, day.start + DAY - 1)
    return stat.oldest or 0


def archive_reach(archive: Archive, until: float) -> tuple[int, float]:
    """The horizon (see Stat.pruned), and the newest creation time shown; Unix seconds."""
    return archive.stat().pruned, newest_shown(archive, archive.days(), until)


def refused_shown(batches: Iterable[Batch]) -> float:
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
