"""The retention acts on no time that the archive and the monotonic clock speak against."""

import logging
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.archive_model import DAY, START, batch_of, envelope, make
from wakumail.archive import retention
from wakumail.archive.archive import Archive
from wakumail.archive.results import Day, Pruned
from wakumail.archive.retention import (
    KEEP_EVERYTHING,
    PRUNE_DAY,
    SHOWING,
    Retention,
    RetentionSchedule,
    pause_after,
    slice_limit,
)
from wakumail.waku.envelope import Batch

KEPT = 30
"""Days of the archive, all of them within the retention."""

NOW = START + KEPT * DAY


class Host:
    """An archive on a machine whose clocks a test sets."""

    def __init__(self, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
        self.archive = archive
        self.wall = float(NOW)
        self.monotonic = 50.0
        self.counts = Counter[str]()
        self.waiting: list[Batch] = []
        clock = SimpleNamespace(time=lambda: self.wall, monotonic=lambda: self.monotonic)
        monkeypatch.setattr(retention, "time", clock)
        self.restart()

    def restart(self, last: float = 0.0) -> None:
        """Look for the first time; the last run trusted the time `last`."""
        self.schedule = RetentionSchedule(
            Retention(seconds=KEPT * DAY, max_size=0, sort_days=False),
            lambda name, n: self.counts.update({name: n}),
            last,
        )

    def run(self, seconds: float, *, jump: float = 0.0) -> int:
        """Let time pass with ten looks; return the envelopes left."""
        self.wall += jump
        for _ in range(10):
            self.wall += seconds / 10
            self.monotonic += seconds / 10
            self.schedule.next_look = 0.0
            self.schedule.prune_if_due(self.archive, self.waiting)
        return self.archive.stat().envelopes

    def wait(self, count: int, created: float) -> None:
        """Let this number of envelopes come that the disk refuses, one in a batch."""
        self.waiting += [
            batch_of([envelope(int(created), b"wait", len(self.waiting) + each)])
            for each in range(count)
        ]

    def arrive(self, count: int, created: float) -> None:
        """Archive this number of envelopes of one creation time."""
        first = self.archive.stat().next_sequence
        new = [envelope(int(created), b"live", first + each) for each in range(count)]
        self.archive.append([batch_of(new)])


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    with Archive(tmp_path, sync=False) as archive:
        host = Host(archive, monkeypatch)
        for day in range(KEPT):
            host.arrive(SHOWING, START + day * DAY + DAY - 1)
        yield host


ALL = KEPT * SHOWING


def test_a_clock_that_goes_on_deletes_what_is_too_old(host: Host) -> None:
    assert host.run(60) == ALL
    assert host.run(2 * DAY) == ALL - 2 * SHOWING
    assert host.counts["clock_doubted"] == 0


def test_bounds_that_are_replaced_during_a_look(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread may replace them at any time: a look acts on the old ones or on the new ones."""
    now = retention.TrustedClock.now

    def replaced(clock: retention.TrustedClock, shown: float) -> tuple[float, float]:
        host.schedule.retention = KEEP_EVERYTHING
        return now(clock, shown)

    monkeypatch.setattr(retention.TrustedClock, "now", replaced)
    assert host.run(60) == ALL


@pytest.mark.parametrize("seconds", [14, 3 * DAY])
def test_a_clock_that_jumps_ahead_deletes_nothing_early(
    host: Host, caplog: pytest.LogCaptureFixture, seconds: int
) -> None:
    host.run(60)
    with caplog.at_level(logging.WARNING):
        assert host.run(seconds, jump=62 * DAY) == ALL - seconds // DAY * SHOWING
    assert "the clock is 62 days ahead" in caplog.text
    assert len(caplog.records) == 1
    assert host.counts["clock_doubted"] == 10
    assert host.run(60, jump=-62 * DAY) == ALL - seconds // DAY * SHOWING
    assert host.counts["clock_doubted"] == 10


def test_a_clock_that_is_ahead_at_the_start_deletes_nothing(host: Host) -> None:
    assert host.run(DAY / 2, jump=62 * DAY) == ALL


def test_what_is_posted_under_a_clock_that_jumped_shows_nothing(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong clock takes posts of our own users, and of others whose clock is as wrong."""
    host.run(60)
    with caplog.at_level(logging.WARNING):
        host.wall += 62 * DAY
        host.arrive(SHOWING, host.wall)
        assert host.run(3600) == ALL + SHOWING
        assert "it has run for 6 hours without a step" in caplog.text
        assert host.run(60, jump=-62 * DAY) == ALL + SHOWING
    assert "the clock is right" in caplog.text
    host.wall += 62 * DAY
    assert host.run(60) == ALL + SHOWING, "the same again"


def test_what_was_posted_before_a_restart_under_a_wrong_clock_shows_nothing(host: Host) -> None:
    """The last run speaks against it."""
    host.run(60)
    last, posted = host.wall, host.wall + 62 * DAY
    host.arrive(SHOWING, posted)
    host.wall = posted
    host.restart(last)
    assert host.run(3600) == ALL + SHOWING
    host.wall = last + 3600
    host.restart(last)
    assert host.run(60) == ALL + SHOWING
    assert host.counts["clock_doubted"] == 10


def test_a_quiet_network_is_no_reason_to_doubt_after_a_restart(host: Host) -> None:
    host.run(60)
    host.run(10 * DAY)
    host.restart(host.wall)
    host.run(60)
    assert host.run(DAY) == ALL - 11 * SHOWING
    assert host.counts["clock_doubted"] == 0


def test_what_is_posted_under_a_clock_that_is_ahead_at_the_start_shows_nothing(
    host: Host,
) -> None:
    host.wall += 62 * DAY
    host.run(60)
    host.arrive(SHOWING, host.wall)
    assert host.run(3600) == ALL + SHOWING
    assert host.run(60, jump=-62 * DAY) == ALL + SHOWING


@pytest.mark.parametrize("count", [1, SHOWING - 1])
def test_a_stray_envelope_shows_nothing_in_a_small_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """None of its days has SHOWING envelopes."""
    with Archive(tmp_path, sync=False) as archive:
        host = Host(archive, monkeypatch)
        for day in range(KEPT):
            host.arrive(SHOWING - 1, START + day * DAY + DAY - 1)
        every = archive.stat().envelopes + count
        host.wall += 62 * DAY
        host.arrive(count, host.wall)
        assert host.run(60) == every


def test_fewer_envelopes_than_show_a_time_show_the_oldest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Archive(tmp_path, sync=False) as archive:
        host = Host(archive, monkeypatch)
        host.arrive(1, NOW - 20 * DAY)
        host.wall += 62 * DAY
        host.arrive(SHOWING - 2, host.wall)
        assert host.run(2 * retention.STEADY) == SHOWING - 1


def test_a_new_server_believes_its_clock_whatever_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Archive(tmp_path, sync=False) as archive:
        host = Host(archive, monkeypatch)
        host.run(60)
        host.arrive(SHOWING, NOW - 40 * DAY)
        assert host.run(60) == 0


def test_envelopes_of_a_time_to_come_show_nothing(host: Host) -> None:
    """An import may bring them."""
    host.arrive(SHOWING, NOW + 400 * DAY)
    host.run(60)
    assert host.run(DAY / 2, jump=62 * DAY) == ALL + SHOWING
    host.restart()
    assert host.run(DAY / 2) == ALL + SHOWING


def test_a_clock_that_steps_on_is_not_steady(host: Host) -> None:
    host.run(60)
    host.wall += 62 * DAY
    host.arrive(SHOWING, host.wall)
    host.run(5 * 3600)
    assert host.run(5 * 3600, jump=-20 * DAY) == ALL + SHOWING


def test_a_clock_that_creeps_ahead_is_not_believed(host: Host) -> None:
    """Each look finds it less than MAX_AHEAD further."""
    host.run(60)
    for _ in range(62 * 24):
        host.wall += 3500
        host.run(1)
    assert host.archive.stat().envelopes == ALL


def test_a_clock_that_would_delete_nothing_is_not_doubted_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The network was quiet for two hours before the start."""
    with Archive(tmp_path, sync=False) as archive:
        host = Host(archive, monkeypatch)
        host.arrive(SHOWING, NOW - 7200)
        assert host.run(60) == SHOWING
    assert not caplog.records
    assert not host.counts


@pytest.mark.parametrize(("ahead", "told"), [(7200, "2.0 h"), (2 * DAY, "2.0 days")])
def test_a_doubt_is_told_in_a_unit_that_fits(
    host: Host, caplog: pytest.LogCaptureFixture, ahead: int, told: str
) -> None:
    """The network was quiet before a start, some minutes after which a day is too old."""
    host.arrive(SHOWING, NOW + DAY - 7200)
    host.restart()
    host.run(60, jump=DAY - 7200 + ahead)
    assert f"the clock is {told} ahead" in caplog.text


def test_a_host_that_was_away_deletes_once_new_envelopes_show_the_time(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.wall += 20 * DAY
    host.restart()
    assert host.run(60) == ALL
    host.arrive(SHOWING, host.wall)
    assert host.run(60) == ALL + SHOWING
    with caplog.at_level(logging.WARNING):
        assert host.run(retention.STEADY) == ALL + SHOWING - 20 * SHOWING
    assert "the clock is right" in caplog.text


def test_on_a_full_disk_the_envelopes_that_wait_show_the_time(host: Host) -> None:
    """Otherwise nothing would be deleted because nothing can be archived, and so for ever."""
    host.wall += 20 * DAY
    host.restart()
    host.wait(SHOWING - 1, host.wall)
    assert host.run(2 * retention.STEADY) == ALL
    host.wait(1, host.wall)
    assert host.run(60) == ALL - 20 * SHOWING


def test_envelopes_that_waited_before_a_clock_jumped_do_not_speak_for_it(host: Host) -> None:
    host.run(60)
    host.wait(SHOWING, host.wall)
    host.wall += 62 * DAY
    host.wait(SHOWING - 1, host.wall)
    assert host.run(60) == ALL


def test_a_few_envelopes_of_a_wrong_clock_show_nothing(host: Host) -> None:
    """Those that are posted here are stamped by it."""
    host.run(60)
    host.wall += 62 * DAY
    host.arrive(SHOWING - 1, host.wall)
    assert host.run(60) == ALL + SHOWING - 1
    assert host.run(60, jump=-62 * DAY) == ALL + SHOWING - 1


def test_a_clock_that_was_behind_may_be_set(host: Host) -> None:
    """It is believed as far as the archive reaches, and as soon as envelopes come."""
    host.wall -= 3 * DAY
    assert host.run(60) == ALL
    assert host.run(60, jump=3 * DAY) == ALL
    for _ in range(24):
        host.run(3600)
    assert host.archive.stat().envelopes == ALL - SHOWING
    assert host.counts["clock_doubted"] == 0


def test_a_clock_that_was_behind_at_the_start_is_believed_later(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """A machine without a clock of its own begins in 1970, and its archive is old."""
    host.wall = 100.0
    host.run(60)
    host.wall = NOW + 20.0 * DAY
    host.arrive(SHOWING, host.wall)
    with caplog.at_level(logging.WARNING):
        assert host.run(3600) == ALL + SHOWING
        assert host.run(retention.STEADY) == ALL + SHOWING - 20 * SHOWING
    assert len(caplog.records) == 2
    assert "days ahead" in caplog.messages[0]
    assert "the clock is right" in caplog.messages[1]


def test_a_quiet_network_is_no_reason_to_doubt(host: Host) -> None:
    host.run(60)
    for day in range(1, KEPT):
        assert host.run(DAY) == ALL - day * SHOWING
    assert host.counts["clock_doubted"] == 0


@pytest.mark.parametrize(
    ("before", "envelopes", "limit"),
    [(DAY, 3000, 3000), (DAY, 7, 500), (DAY - 1, 3000, 500), (DAY, PRUNE_DAY + 1, 500)],
    ids=["a day", "a small day", "a part of a day", "a very large day"],
)
def test_a_slice_is_a_whole_day_where_that_is_cheap(
    before: int, envelopes: int, limit: int
) -> None:
    first = Day(START // DAY * DAY, envelopes, 1, 1, 0)
    assert slice_limit([first], first.start + before, 500) == limit
    deleted = Day(first.start - DAY, 0, 1, 0, 0)
    assert slice_limit([deleted, first], first.start + before, 500) == limit
    assert slice_limit([], 0, 500) == 500


@pytest.mark.parametrize("is_sorted", [False, True])
def test_a_bound_of_the_size_deletes_a_sorted_day_whole(tmp_path: Path, is_sorted: bool) -> None:
    bounds = Retention(seconds=0, max_size=1, sort_days=False)
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(make(2100))])
        first, *others = archive.days()
        assert first.envelopes > retention.PRUNE_SLICE
        while is_sorted and archive.sort(first.start, max_bytes=1 << 20, max_seconds=60).more:
            pass
        RetentionSchedule(bounds, lambda _name, _count: None).prune_if_due(archive)
        left = archive.days()
    assert sum(day.envelopes for day in left) == 2100 - (
        first.envelopes if is_sorted else retention.PRUNE_SLICE
    )
    assert left[-2:] == others


@pytest.mark.parametrize(
    ("pruned", "pause"),
    [(Pruned(0, 9, more=True), 6.0), (Pruned(5, 9, more=True), 0.0), (Pruned(0, 9, more=False), 0)],
    ids=["pages were read or bytes deleted", "envelopes were deleted", "the end"],
)
def test_the_pause_between_two_slices(pruned: Pruned, pause: float) -> None:
    assert pause_after(pruned, 2.0) == pause


@pytest.mark.parametrize("is_full", [False, True], ids=["others write", "the disk is full"])
def test_the_slices_of_a_day_leave_time_to_others(tmp_path: Path, is_full: bool) -> None:
    """On a full disk none can use it, and all wait for the end of the day."""
    bounds = Retention(seconds=0, max_size=1, sort_days=False)
    refused = [batch_of(make(1))] if is_full else []
    with Archive(tmp_path, sync=False) as archive:
        archive._read_ahead_always(True)
        archive.append([batch_of(make(400, spread=DAY))])
        while archive.sort(START, max_bytes=1 << 20, max_seconds=60).more:
            pass
        schedule = RetentionSchedule(bounds, lambda _name, _count: None)
        before = time.monotonic()
        assert schedule.prune_if_due(archive, refused)
        assert archive.stat().envelopes == 400
        assert (schedule.next_look > before) is not is_full
        slices = 1
        while schedule.next_look < time.monotonic() + retention.RETENTION_INTERVAL / 2:
            slices += schedule.prune_if_due(archive, refused)
        assert archive.stat().envelopes == 0
        assert slices > 5
