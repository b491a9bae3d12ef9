"""Sorting: when the days of an archive that are over are sorted by topic, a slice at a time.

The pages of a topic then lie together on disk. How it is done: ext/wakumail/archive/sorter.pxd.
"""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from wakumail.archive.archive import Archive
from wakumail.archive.outlook import room_beside
from wakumail.archive.results import Day
from wakumail.archive.retention import DAY, Retention
from wakumail.errors import ArchiveError

log = logging.getLogger(__name__)

SORT_SLICE = 1 << 20
"""Bytes of envelopes of one slice, about: 10 to 20 ms between two commits."""

SORT_SECONDS = 0.02
"""Seconds after which a slice ends with what it has. If nothing is in memory it takes as long as
the disk needs for the 128 envelopes that it asks for together."""

PAUSE = 9.0
"""Times as long as a slice took, the thread leaves the disk to others after it."""

MAX_DELAY = 1.0
"""Seconds that a slice that is due gives way to the commits that wait."""

REST = 3600.0
"""Seconds without a new envelope before a day is sorted, after its end and after the start.
Envelopes are archived within a minute or two of their creation, and sync peers compare every few
minutes. What comes later lies behind the rest of its day."""

MIN_UNSORTED = 1000
"""Envelopes that are worth it: fewer lie in a few dozen pages anyway."""

MIN_SHARE = 1 / 8
"""Share of a day that is sorted again when it came late. Each time adds a piece to each topic."""

ROOM = 2
"""Times the bytes of a day have to be free, in the file and beside it, before it is begun. It needs
them once, until it is sorted. Of a bound of the size, older days may give way for them."""

LOOK_INTERVAL = 60.0
"""Seconds from a look that found no day to the next look."""

FAILED_INTERVAL = 600.0
"""Seconds from a slice that failed to the next one."""


class DaySorting:
    """Sorts the days of an archive, one slice at a time.

    The writer thread calls it between two commits. `count` adds to a counter, and is called in
    that thread.
    """

    def __init__(self, retention: Retention, count: Callable[[str, int], None]) -> None:
        self.retention = retention
        """May be replaced at any time, by any thread. A day that is begun stays as it is."""
        self.next_look = 0.0
        """The time of the next slice, or look for a day (time.monotonic)."""
        self._count = count
        self._changed: dict[int, tuple[int, float]] = {}
        """By the start of each day: its unsorted envelopes, and since when they are as many."""

    def sort_if_due(self, archive: Archive, *, busy: bool) -> None:
        """Sort a slice, if it is time for one; `busy`: commits wait."""
        begun = time.monotonic()
        if begun < self.next_look + (MAX_DELAY if busy else 0.0):
            return
        try:
            goes_on = self.retention.sort_days and self._sort(archive)
        except (ArchiveError, OSError) as error:
            log.error("a day could not be sorted: %s", error)
            self._count("sorts_failed", 1)
            self.next_look = time.monotonic() + FAILED_INTERVAL
            return
        ended = time.monotonic()
        self.next_look = ended + (PAUSE * (ended - begun) if goes_on else LOOK_INTERVAL)

    def _sort(self, archive: Archive) -> bool:
        """Sort a slice; False if no day is due."""
        day = archive.sorting()
        if day is None:
            day = self._next_day(archive)
            if day is None:
                return False
        step = archive.sort(day, max_bytes=SORT_SLICE, max_seconds=SORT_SECONDS)
        if step.envelopes:
            self._count("envelopes_sorted", step.envelopes)
        return True

    def _next_day(self, archive: Archive) -> int | None:
        """The start of the newest day that is due; most requests are for the newest ones."""
        days = archive.days()
        due = self._due(days, time.time(), time.monotonic())
        if not due:
            return None
        stat, file = archive.stat(), Path(archive.path) / "data.mdb"
        room = stat.free_bytes + room_beside(file, file.stat().st_size)
        max_size = self.retention.max_size
        for day in reversed(due):
            within = room_within(max_size, stat.file_bytes, days, day) if max_size else room
            if ROOM * day.bytes <= min(room, within):
                return day.start
        return None

    def _due(self, days: Sequence[Day], now: float, monotonic: float) -> list[Day]:
        """The days that are over, have rested, and are worth it."""
        before = self._changed
        self._changed = {}
        due = []
        for day in days:
            seen = before.get(day.start)
            if seen is None or seen[0] != day.unsorted:
                seen = (day.unsorted, monotonic)
            self._changed[day.start] = seen
            if (
                day.start + DAY + REST <= now
                and seen[1] + REST <= monotonic
                and day.unsorted >= max(MIN_UNSORTED, MIN_SHARE * day.envelopes)
            ):
                due.append(day)
        return due


def room_within(max_size: int, file_bytes: int, days: Sequence[Day], day: Day) -> int:
    """Bytes that the copies of a day may take before the bound of the size deletes from the day.

    file_bytes: of the pages in use, which are those of all `days`.
    """
    older = sum(each.bytes for each in days if each.start < day.start)
    every = sum(each.bytes for each in days) or 1
    return max_size - file_bytes + older * file_bytes // every
