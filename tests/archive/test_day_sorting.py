"""The days that are sorted, and when: the clocks are those of the test."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.archive_model import DAY, START, batch_of, make
from wakumail.archive import day_sorting
from wakumail.archive.archive import Archive
from wakumail.archive.day_sorting import FAILED_INTERVAL, MAX_DELAY, REST, DaySorting
from wakumail.archive.retention import KEEP_EVERYTHING, Retention, RetentionSchedule
from wakumail.errors import ArchiveFull

FEW = 20
"""Envelopes that are worth it here."""

BOUNDLESS = Retention(seconds=0, max_size=0, sort_days=True)


class Host:
    """An archive on a machine whose clocks a test sets. It is noon of START when it starts."""

    def __init__(self, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
        self.archive = archive
        self.wall = START + DAY / 2
        self.monotonic = 50.0
        self.room = 1 << 30
        self.counts = Counter[str]()
        clock = SimpleNamespace(time=lambda: self.wall, monotonic=lambda: self.monotonic)
        monkeypatch.setattr(day_sorting, "time", clock)
        monkeypatch.setattr(day_sorting, "MIN_UNSORTED", FEW)
        monkeypatch.setattr(day_sorting, "room_beside", lambda path, size: self.room)
        self.sorting = DaySorting(BOUNDLESS, lambda name, n: self.counts.update({name: n}))

    def run(self, seconds: float) -> list[int]:
        """Let time pass, with a look each minute; return the unsorted envelopes of the days."""
        for _ in range(int(seconds // 60) + 1):
            self.wall += 60
            self.monotonic += 60
            self.sorting.next_look = min(self.sorting.next_look, self.monotonic)
            self.sorting.sort_if_due(self.archive, busy=False)
        for _ in range(20):  # what is begun is sorted to its end
            self.sorting.sort_if_due(self.archive, busy=False)
        return [day.unsorted for day in self.archive.days()]

    def arrive(self, count: int, first: int = 0, start: int = START) -> None:
        self.archive.append([batch_of(make(count, first=first, start=start, spread=DAY))])


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    with Archive(tmp_path, sync=False) as archive:
        yield Host(archive, monkeypatch)


def test_a_day_is_sorted_once_it_is_over_and_has_rested(host: Host) -> None:
    host.arrive(100)
    assert host.run(DAY / 2 + REST - 600) == [100]
    assert host.run(1200) == [0]
    assert host.counts == {"envelopes_sorted": 100}


def test_nothing_is_sorted_while_it_is_off(host: Host) -> None:
    host.arrive(100)
    host.sorting.retention = KEEP_EVERYTHING
    assert host.run(2 * DAY) == [100]
    host.sorting.retention = BOUNDLESS
    assert host.run(2 * REST) == [0]


def test_a_day_rests_after_each_envelope(host: Host) -> None:
    host.arrive(100)
    host.wall += DAY
    for late in range(5):
        host.arrive(1, first=100 + late)
        assert host.run(REST / 2) == [101 + late]
    assert host.run(REST) == [0]


def test_what_comes_late_is_sorted_when_it_is_a_good_part_of_its_day(host: Host) -> None:
    host.arrive(400)
    host.wall += DAY
    assert host.run(2 * REST) == [0]
    host.arrive(40, first=400)
    assert host.run(2 * REST) == [40]
    host.arrive(40, first=440)
    assert host.run(2 * REST) == [0]


def test_a_few_envelopes_are_left_as_they_are(host: Host) -> None:
    host.arrive(FEW - 1)
    assert host.run(2 * DAY) == [FEW - 1]


def test_the_newest_day_comes_first(host: Host) -> None:
    host.arrive(100)
    host.arrive(100, first=100, start=START + DAY)
    host.wall += 2 * DAY
    host.run(REST - 120)
    host.monotonic += 60
    host.sorting.next_look = 0.0
    while not host.counts["envelopes_sorted"]:
        host.sorting.sort_if_due(host.archive, busy=False)
        host.monotonic += 1
    assert [day.unsorted for day in host.archive.days()] == [100, 0]


def test_without_room_for_the_copies_no_day_is_begun(host: Host) -> None:
    host.arrive(2000)
    host.wall += DAY
    host.room = 0
    assert host.run(2 * REST) == [2000]
    host.room = 1 << 30
    assert host.run(120) == [0]


@pytest.mark.parametrize(("days", "is_sorted"), [(1, False), (3, True)])
def test_a_bound_of_the_size_takes_room_for_the_copies_of_older_days_alone(
    host: Host, days: int, is_sorted: bool
) -> None:
    for day in range(days):
        host.arrive(1000, first=1000 * day, start=START + day * DAY)
    host.wall += days * DAY
    stat = host.archive.stat()
    bounds = Retention(seconds=0, max_size=stat.file_bytes * 101 // 100, sort_days=True)
    host.sorting.retention = bounds
    pruning = RetentionSchedule(bounds, lambda name, n: host.counts.update({name: n}))
    for _ in range(60):
        host.run(0)
        pruning.next_look = 0.0
        pruning.prune_if_due(host.archive)
        host.monotonic += REST
    newest = host.archive.days()[-1]
    assert newest.envelopes == 1000, "the day itself is whole"
    assert newest.unsorted == (0 if is_sorted else 1000)
    if not is_sorted:
        assert host.archive.stat() == stat, "so nothing is deleted for what is not begun"


def test_it_gives_way_to_commits_for_a_while(host: Host) -> None:
    host.sorting.next_look = host.monotonic
    host.sorting.sort_if_due(host.archive, busy=True)
    assert host.sorting.next_look == host.monotonic
    host.monotonic += MAX_DELAY
    host.sorting.sort_if_due(host.archive, busy=True)
    assert host.sorting.next_look > host.monotonic


def test_a_full_disk_is_counted_and_it_waits(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(archive: Archive) -> bool:
        raise ArchiveFull("the disk is full")

    host.sorting.next_look = 0.0
    monkeypatch.setattr(host.sorting, "_sort", refuse)
    host.sorting.sort_if_due(host.archive, busy=False)
    assert host.counts == {"sorts_failed": 1}
    assert host.sorting.next_look == host.monotonic + FAILED_INTERVAL
