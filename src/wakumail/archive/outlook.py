"""The outlook of an archive: the room that its file has, and the time when that is used up."""

import math
import os
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from wakumail.archive.archive import Archive
from wakumail.archive.results import Day, Stat
from wakumail.archive.retention import DAY, Retention
from wakumail.base.text import in_bytes, in_time, utc

SPANS = (1, 7)
"""Days that the growth is measured over, each with what has passed of today. The faster counts: one
sees a rush, the other a day on which the server did not run."""

MIN_HISTORY = DAY
"""Seconds that an archive has to reach back before its growth is known."""

SLACK = 1.1
"""The file is up to this many times as large as the bound of the pages in use."""

SOON = 3 * DAY
"""Seconds. A disk that is full earlier is told."""

FAR = 3650 * DAY
"""Seconds. What lies behind is too far away to be told."""

LOW_ROOM = 256 << 20
"""Bytes. Less room is told unless the archive needs no more."""


class Outlook(NamedTuple):
    """The room that an archive has on its disk.

    size: bytes of the file; disk_free: bytes that it may yet grow by, which is the free space of
    its disk, or less if RLIMIT_FSIZE allows no more; daily_growth: bytes of the file that the
    envelopes of a day take, None if the archive reaches back less than a day; full_in: seconds
    until there is no room for them, `math.inf` if that does not come, None if it is not known.
    """

    size: int
    disk_free: int
    daily_growth: float | None
    full_in: float | None


class Look(NamedTuple):
    """An archive and its outlook at one moment."""

    stat: Stat
    days: list[Day]
    outlook: Outlook

    @property
    def room(self) -> int:
        """Bytes for new envelopes: in the file and beside it."""
        return self.stat.free_bytes + self.outlook.disk_free

    def when_full(self, now: float) -> str:
        """The day when there is no room, in words. now: Unix seconds, as for `warning`."""
        full_in = self.outlook.full_in
        if full_in is None and not self.room:
            return "now"
        if full_in is None:
            return "not known: the archive reaches back less than a day"
        if full_in == math.inf:
            return "never: as much is deleted as arrives" if self.outlook.daily_growth else "never"
        if full_in > FAR:
            return "in more than ten years"
        return f"{utc(int(now + full_in))}, in {in_time(full_in)}" if full_in else "now"

    def warning(self, now: float) -> str:
        """A warning for the operator before the disk is full; empty if there is time."""
        full_in = self.outlook.full_in
        if full_in == math.inf or (self.room >= LOW_ROOM and (full_in is None or full_in > SOON)):
            return ""
        growth = self.outlook.daily_growth
        left = f"{in_bytes(self.room)} are left for envelopes"
        if growth is None:
            return f"{left}, and their growth is not known yet"
        return f"{left}, {in_bytes(growth)} are needed a day: full {self.when_full(now)}"


def look_at(archive: Archive, retention: Retention, now: float) -> Look:
    """Look at an archive with these bounds. now: Unix seconds.

    ArchiveError, or OSError if its file system cannot be asked.
    """
    stat, days = archive.stat(), archive.days()
    file = Path(archive.path) / "data.mdb"
    size = file.stat().st_size
    disk_free = room_beside(file, size)
    growth = daily_growth(stat, days, now)
    full_in = None
    if growth is not None:
        capacity = stat.file_bytes + stat.free_bytes + disk_free
        full_in = time_to_fill(stat, days, retention, capacity, growth, now)
    return Look(stat, days, Outlook(size, disk_free, growth, full_in))


def room_beside(path: Path, size: int) -> int:
    """Bytes that a file of `size` bytes on the disk of `path` may grow by."""
    disk = os.statvfs(path)
    free = disk.f_bavail * disk.f_frsize
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return free if limit == resource.RLIM_INFINITY else min(free, max(0, limit - size))


def daily_growth(stat: Stat, days: Sequence[Day], now: float) -> float | None:
    """Bytes of the file that a day's envelopes take; None if too little is known.

    Days are those of creation. What is synced or imported into older days does not count.
    """
    if stat.oldest is None or now - stat.oldest < MIN_HISTORY:
        return None
    today = int(now) // DAY * DAY
    rates = []
    for span in SPANS:
        start = today - span * DAY
        arrived = sum(day.bytes for day in days if day.start >= start)
        rates.append(arrived / (now - max(start, stat.oldest)))
    return max(rates) * DAY * pages_per_byte(stat)


def pages_per_byte(stat: Stat) -> float:
    """Bytes of pages that a byte of an envelope takes. The copies of a sorted day go again."""
    return max(0, stat.file_bytes - stat.copied) / stat.bytes


def time_to_fill(
    stat: Stat, days: Sequence[Day], retention: Retention, capacity: int, growth: float, now: float
) -> float:
    """Seconds until the pages in use take `capacity` bytes; `math.inf` if they never do.

    growth: bytes of these pages that a day's envelopes take; now: Unix seconds.
    Retention deletes a whole day once its end is old enough. Between two of these moments the
    archive grows evenly. From the day after that of today's envelopes on, as much is deleted as
    arrives.
    """
    if not growth or (retention.max_size and retention.max_size * SLACK <= capacity):
        return math.inf
    used = float(stat.file_bytes)
    per_byte = pages_per_byte(stat)
    kept = retention.seconds
    for day in days if kept else ():
        due = max(0.0, day.start + DAY + kept - now)
        full_in = max(0.0, (capacity - used) / growth * DAY)
        if full_in < due:
            return full_in
        used -= day.bytes * per_byte
    full_in = max(0.0, (capacity - used) / growth * DAY)
    left_of_today = DAY - now % DAY
    if not kept or full_in < left_of_today + kept:
        return full_in
    # What arrives today is deleted by then.
    return full_in + left_of_today if full_in < DAY + kept else math.inf
