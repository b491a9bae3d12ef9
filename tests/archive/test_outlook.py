"""The day on which a disk is full is that of a simulation, hour by hour."""

import math
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.archive_model import START, batch_of, envelope, make
from wakumail.archive.archive import Archive
from wakumail.archive.outlook import (
    FAR,
    LOW_ROOM,
    SOON,
    Look,
    Outlook,
    daily_growth,
    look_at,
    room_beside,
    time_to_fill,
)
from wakumail.archive.results import Day, Stat
from wakumail.archive.retention import DAY, KEEP_EVERYTHING, Retention

HOUR = 3600
TODAY = 20_000 * DAY
PER_BYTE = 1.25
"""Bytes of the file for each byte of an envelope."""


def made(sizes: list[int], now: int, free: int = 0) -> tuple[Stat, list[Day]]:
    """An archive with these bytes of envelopes on the days until `now`."""
    first = now // DAY - len(sizes) + 1
    days = [Day((first + n) * DAY, 1, size, 1, 1) for n, size in enumerate(sizes) if size]
    total = sum(sizes)
    oldest = days[0].start if days else None
    newest = days[-1].start if days else None
    return Stat(len(days), total, int(total * PER_BYTE), free, oldest, newest, 0, 0, 0, 0), days


def simulated(days: list[Day], kept: int, capacity: float, growth: float, now: int) -> float:
    """The time at which the archive is full: it grows each hour, and each hour is pruned."""
    held = {day.start: day.bytes * PER_BYTE for day in days}
    limit = kept + 2 * DAY if kept else 400 * DAY
    for passed in range(0, limit, HOUR):
        before = (now + passed - kept) // DAY * DAY if kept else 0
        held = {start: size for start, size in held.items() if start >= before}
        if sum(held.values()) > capacity:
            return passed
        start = (now + passed) // DAY * DAY
        held[start] = held.get(start, 0) + growth / 24
    return math.inf


@given(
    sizes=st.lists(st.integers(0, 2000), min_size=1, max_size=12).map(lambda s: [1000, *s]),
    hour=st.integers(0, 23),
    kept=st.sampled_from([0, 3, 10, 20]),
    room=st.integers(0, 30_000),
    growth=st.integers(100, 4000),
)
def test_the_time_is_that_of_a_simulation(
    sizes: list[int], hour: int, kept: int, room: int, growth: int
) -> None:
    now = TODAY + hour * HOUR
    stat, days = made(sizes, now)
    # What retention is about to delete is there yet.
    days = [day for day in days if not kept or day.start >= (now - kept * DAY) // DAY * DAY]
    stat = stat._replace(bytes=sum(d.bytes for d in days) or 1)
    stat = stat._replace(file_bytes=int(stat.bytes * PER_BYTE))
    capacity = stat.file_bytes + room
    told = time_to_fill(
        stat, days, Retention(kept * DAY, 0, sort_days=False), capacity, growth, now
    )
    early, late = (
        simulated(days, kept * DAY, capacity + hours * growth / 24, growth, now)
        for hours in (-1, 1)
    )
    assert early - HOUR <= told <= late + HOUR


def test_the_faster_of_two_growths_counts() -> None:
    noon = TODAY + DAY // 2
    rush, days = made([100] * 7 + [3000, 1500], noon)
    assert daily_growth(rush, days, noon) == pytest.approx(3000 * PER_BYTE, rel=0.01)
    # A day on which the server did not run is no sign that less comes.
    outage, days = made([700] * 6 + [0, 0, 350], noon)
    growth = daily_growth(outage, days, noon)
    assert growth == pytest.approx((5 * 700 + 350) / 7.5 * PER_BYTE, rel=0.01)


def test_what_was_imported_into_old_days_is_no_growth() -> None:
    stat, days = made([50_000] * 20 + [0] * 8, TODAY)
    assert daily_growth(stat, days, TODAY) == 0
    assert time_to_fill(stat, days, KEEP_EVERYTHING, 10**6, 0, TODAY) == math.inf


def test_too_little_history_is_told_as_such() -> None:
    stat, days = made([1000], TODAY + HOUR)
    assert daily_growth(stat, days, TODAY + HOUR) is None
    assert daily_growth(*made([], TODAY), TODAY) is None
    look = Look(stat, days, Outlook(0, 10**12, None, None))
    assert look.when_full(TODAY) == "not known: the archive reaches back less than a day"
    assert look.warning(TODAY) == ""


def test_a_bound_of_the_size_keeps_the_disk_free() -> None:
    stat, days = made([1000] * 5, TODAY)
    for size, full in ((8000, math.inf), (20_000, (10_000 - stat.file_bytes) / 1250 * DAY)):
        assert (
            time_to_fill(stat, days, Retention(0, size, sort_days=False), 10_000, 1250, TODAY)
            == full
        )


def outlook(room: int, full_in: float | None) -> Look:
    stat, days = made([1000] * 5, TODAY)
    growth = None if full_in is None else 1e6
    return Look(stat, days, Outlook(10**6, room, growth, full_in))


@pytest.mark.parametrize(
    ("room", "full_in", "words", "warns"),
    [
        (10**12, 40 * DAY, "2024-11-13T00:00:00Z, in 40 days", False),
        (10**12, SOON - 1, "2024-10-06T23:59:59Z, in 3.0 days", True),
        (LOW_ROOM - 1, 40 * DAY, "2024-11-13T00:00:00Z, in 40 days", True),
        (LOW_ROOM - 1, None, "not known: the archive reaches back less than a day", True),
        (0, math.inf, "never: as much is deleted as arrives", False),
        (10**12, 2 * FAR, "in more than ten years", False),
        (0, 0.0, "now", True),
        (0, None, "now", True),
    ],
)
def test_it_is_told_in_time(room: int, full_in: float | None, words: str, warns: bool) -> None:
    look = outlook(room, full_in)
    assert look.when_full(TODAY) == words
    assert bool(look.warning(TODAY)) is warns


def test_the_file_is_told_as_it_is(tmp_path: Path) -> None:
    with Archive(tmp_path) as archive:
        archive.append([batch_of([envelope(START + n, b"abcd", n) for n in range(3000)])])
        full = look_at(archive, KEEP_EVERYTHING, START + DAY)
        while archive.prune(START + 10 * DAY, limit=5000).more:
            pass
        archive.append([batch_of([envelope(START, b"abcd", 9999)])])
        pruned = look_at(archive, KEEP_EVERYTHING, START + DAY)
    size = (tmp_path / "data.mdb").stat().st_size
    assert pruned.outlook.size == size
    assert pruned.stat.file_bytes + pruned.stat.free_bytes == pytest.approx(size, abs=64 << 10)
    assert pruned.stat.free_bytes > 0.8 * full.stat.file_bytes
    disk = os.statvfs(tmp_path)
    assert full.outlook.disk_free == pytest.approx(disk.f_bavail * disk.f_frsize, rel=0.5)


def test_a_limit_of_the_process_counts_as_a_disk(tmp_path: Path) -> None:
    code = (
        "import resource; from pathlib import Path; from wakumail.archive.outlook import *;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, -1));"
        f"print(room_beside(Path({str(tmp_path)!r}), 1000), room_beside(Path('/'), 2 << 20))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str((1 << 20) - 1000), "0"]
    if resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY:
        assert room_beside(tmp_path, 0) > 1 << 20


def test_the_copies_of_a_day_that_is_sorted_are_no_growth(tmp_path: Path) -> None:
    now = START + 2 * DAY
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(make(4000, spread=2 * DAY, size=500))])
        growths = [look_at(archive, KEEP_EVERYTHING, now).outlook.daily_growth]
        while archive.sort(START + DAY, max_bytes=100_000, max_seconds=60).more:
            growths.append(look_at(archive, KEEP_EVERYTHING, now).outlook.daily_growth)
    assert len(growths) > 10
    known = [growth for growth in growths if growth is not None]
    assert max(known) < 1.1 * min(known)
