"""Pruning against the model: the envelopes that go and stay, and the space that is reused."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.archive.test_verify import verify_sound
from tests.support.archive_model import (
    DAY,
    START,
    batch_of,
    envelope,
    kill_python,
    make,
    order,
    read_tables,
)
from tests.support.independent import check_sound
from wakumail.archive.archive import Archive, PageState, Query
from wakumail.archive.page_check import check_pages
from wakumail.archive.results import Pruned
from wakumail.waku.envelope import Envelope, parse

EVERYTHING = Query(0, 2**32 - 1)
TOPICS = [b"one.", b"two.", b"tri."]

DAY_COUNT = 15_000
"""Envelopes of a day that goes in several slices."""

SLICE_BYTES = 512 * 8192
"""Bytes of envelopes that a slice deletes at most: CHUNKS_PER_SLICE of pruner.pxd, of two pages."""


def envelopes_of(archive: Archive) -> list[Envelope]:
    page = archive.page_job(EVERYTHING, limit=10_000, max_bytes=1 << 30, budget=1 << 30).do()
    assert page.state is PageState.EXHAUSTED
    return list(parse(page.packet))[::-1]


def some(count: int, first: int = 0, seconds: int = 3 * DAY) -> list[Envelope]:
    return [
        envelope(START + number * 7919 % seconds, TOPICS[number % 3], first + number, size=200)
        for number in range(count)
    ]


@given(
    numbers=st.lists(st.integers(0, 400), min_size=1, max_size=120, unique=True),
    commits=st.integers(1, 5),
    cut=st.integers(-1, 3 * DAY + 1),
    limit=st.integers(1, 50),
)
@settings(max_examples=60, deadline=None)
def test_prune_leaves_what_the_model_leaves(
    tmp_path_factory: pytest.TempPathFactory,
    numbers: list[int],
    commits: int,
    cut: int,
    limit: int,
) -> None:
    every = [envelope(START + n * 653 % (3 * DAY), TOPICS[n % 3], n) for n in numbers]
    with Archive(tmp_path_factory.mktemp("prune") / "archive", sync=False) as archive:
        for number in range(commits):
            archive.append([batch_of(every[number::commits])])
        gone = 0
        while True:
            pruned = archive.prune(START + cut, limit=limit)
            gone += pruned.envelopes
            assert pruned.envelopes <= limit
            if not pruned.more:
                break
        left = sorted((e for e in every if e.created >= START + cut), key=order)
        assert envelopes_of(archive) == left
        assert gone == len(every) - len(left)
        stat = archive.stat()
        assert stat.envelopes == len(left)
        assert stat.oldest == (left[0].created if left else None)
        for topic in TOPICS:
            page = archive.page_job(
                Query(0, 2**32 - 1, topics=[topic]), limit=1000, max_bytes=1 << 30
            ).do()
            assert page.count == sum(e.topic == topic for e in left)
        assert archive.prune(START + cut, limit=limit).envelopes == 0
        archive.append([batch_of(every)])
        assert len(envelopes_of(archive)) == len(every)


@given(
    numbers=st.lists(st.integers(0, 400), min_size=5, max_size=100, unique=True),
    cuts=st.lists(st.integers(0, 3 * DAY), min_size=1, max_size=4),
    limit=st.integers(1, 10),
    newest_first=st.booleans(),
    topics=st.sampled_from([None, TOPICS[:1], TOPICS]),
)
@settings(max_examples=60, deadline=None)
def test_pages_go_on_while_envelopes_are_deleted(
    tmp_path_factory: pytest.TempPathFactory,
    numbers: list[int],
    cuts: list[int],
    limit: int,
    newest_first: bool,
    topics: list[bytes] | None,
) -> None:
    """Each page follows the position with what is left, also if the position's envelope is gone."""
    left = [envelope(START + n * 653 % (3 * DAY), TOPICS[n % 3], n) for n in numbers]
    query = Query(0, 2**32 - 1, topics=topics, newest_first=newest_first)
    with Archive(tmp_path_factory.mktemp("pages") / "archive", sync=False) as archive:
        archive.append([batch_of(left)])
        left = [e for e in left if topics is None or e.topic in topics]
        left.sort(key=order, reverse=newest_first)
        position, state = b"", PageState.MORE
        while state is not PageState.EXHAUSTED:
            page = archive.page_job(query, position, limit=limit, max_bytes=1 << 20).do()
            got = list(parse(page.packet))
            assert got == left[: len(got)]
            assert len(got) == min(limit, len(left))
            left = left[len(got) :]
            position, state = page.position, page.state
            if cuts:
                before = START + cuts.pop()
                archive.prune(before, limit=1000)
                left = [e for e in left if e.created >= before]
                state = PageState.MORE
        assert not left


def test_nothing_is_left_of_an_archive_that_is_pruned_whole(tmp_path: Path) -> None:
    with Archive(tmp_path / "archive", sync=False) as archive:
        archive.append([batch_of(some(5000))])
        bytes_gone = 0
        while (pruned := archive.prune(2**32, limit=500)).more:
            bytes_gone += pruned.bytes
        stat = archive.stat()
        assert (stat.envelopes, stat.bytes, stat.oldest, stat.next_sequence) == (0, 0, None, 5000)
        assert bytes_gone + pruned.bytes == sum(len(e.rlp) for e in some(5000))
    tables = read_tables(tmp_path / "archive")
    assert {name for name, rows in tables.items() if rows} == {"meta"}


def test_under_steady_ingest_the_file_stops_growing(tmp_path: Path) -> None:
    """With each new hour the oldest one is pruned, and new rows use its pages."""
    sizes = []
    hours = 48
    with Archive(tmp_path / "archive", sync=False) as archive:
        for hour in range(8 * hours):
            now = START + hour * 3600
            fresh = [envelope(now + 9 * n, TOPICS[n % 3], n, size=512) for n in range(400)]
            for start in range(0, len(fresh), 50):
                archive.append([batch_of(fresh[start : start + 50])])
            while archive.prune(now - hours * 3600, limit=1000).more:
                pass
            sizes.append((tmp_path / "archive" / "data.mdb").stat().st_size)
        stat = archive.stat()
    assert sizes[-1] <= 1.1 * sizes[hours]
    assert sizes[-1] <= 1.05 * sizes[4 * hours]
    assert sizes[-1] <= 1.4 * stat.bytes


def make_day(path: Path, *, is_sorted: bool) -> None:
    """An archive with a day of DAY_COUNT envelopes, in some 1,400 chunks, and a small one."""
    every = make(DAY_COUNT, spread=DAY, size=600)
    with Archive(path, sync=False) as archive:
        for at in range(0, DAY_COUNT, 2000):
            archive.append([batch_of(every[at : at + 2000])])
        archive.append([batch_of(make(100, first=DAY_COUNT, start=START + DAY, spread=DAY))])
        while is_sorted and archive.sort(START, max_bytes=1 << 20, max_seconds=60).more:
            pass


@pytest.mark.parametrize("is_sorted", [False, True], ids=["unsorted", "sorted"])
def test_a_whole_day_goes_in_slices_of_bounded_work(tmp_path: Path, is_sorted: bool) -> None:
    """Its rows go at once, its bytes after that, and the archive is sound between all slices."""
    make_day(tmp_path, is_sorted=is_sorted)
    with Archive(tmp_path, sync=False) as archive:
        first, second = archive.days()
        slices: list[Pruned] = []
        while not slices or slices[-1].more:
            slices.append(archive.prune(START + DAY, limit=DAY_COUNT))
            verify_sound(archive)
            assert [day.envelopes for day in archive.days() if day.envelopes] == (
                [100] if any(pruned.envelopes for pruned in slices) else [DAY_COUNT, 100]
            )
            if len(slices) == 4:
                check_sound(tmp_path)
        assert archive.days() == [second]
    assert [pruned.envelopes for pruned in slices if pruned.envelopes] == [DAY_COUNT]
    assert sum(pruned.bytes for pruned in slices) == first.bytes
    assert max(pruned.bytes for pruned in slices) <= SLICE_BYTES < first.bytes / 2
    assert not any(pruned.bytes for pruned in slices if pruned.envelopes)
    assert check_pages(tmp_path) == (0, [])
    check_sound(tmp_path)


PRUNE_DAY = """
import sys
from wakumail.archive.archive import Archive
with Archive(sys.argv[1]) as archive:
    archive._read_ahead_always(True)
    print("go", flush=True)
    while archive.prune(int(sys.argv[2]), limit=10**6).more:
        pass
    print("end", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("is_sorted", [False, True], ids=["unsorted", "sorted"])
def test_a_pruning_that_was_killed_leaves_a_sound_archive_and_goes_on(
    tmp_path: Path, is_sorted: bool
) -> None:
    make_day(tmp_path, is_sorted=is_sorted)
    for kill in range(3):
        after = random.random() * 0.05 * (kill + 1)
        kill_python(PRUNE_DAY, tmp_path, START + DAY, after=after)
        with Archive(tmp_path, readonly=True) as archive:
            verify_sound(archive)
            assert archive.stat().envelopes in (100, DAY_COUNT + 100)
    with Archive(tmp_path, sync=False) as archive:
        while archive.prune(START + DAY, limit=10**6).more:
            pass
        assert [day.envelopes for day in archive.days()] == [100]
    check_sound(tmp_path)


def test_what_comes_to_a_day_that_is_half_deleted_stays(tmp_path: Path) -> None:
    """The day's rows are gone, its bytes are not. New envelopes and old ones may come to it."""
    every = make(200, spread=DAY, size=600)
    again = make(40, first=1000, spread=DAY) + every[:40]
    with Archive(tmp_path, sync=False) as archive:
        archive._read_ahead_always(True)
        archive.append([batch_of(every)])
        while not archive.prune(START + DAY, limit=1000).envelopes:
            pass
        archive.prune(START + DAY, limit=1000)
        archive.append([batch_of(again)])
        verify_sound(archive)
        assert sorted(envelopes_of(archive), key=order) == sorted(again, key=order)
        while archive.sort(START, max_bytes=3000, max_seconds=60).more:
            pass
        verify_sound(archive)
        while archive.prune(START + DAY, limit=1000).more:
            verify_sound(archive)
        assert archive.stat().bytes == 0
    assert not any(rows for name, rows in read_tables(tmp_path).items() if name != "meta")


def test_a_day_is_deleted_beside_the_days_around_it(tmp_path: Path) -> None:
    """Tables of three levels: leaf pages go as a whole, those with rows of two days row by row."""
    with Archive(tmp_path, sync=False) as archive:
        every = make(45_000, spread=3 * DAY, size=1)
        archive.append([batch_of(every)])
        left = sorted((each for each in every if each.created >= START + 2 * DAY), key=order)
        while archive.prune(START + 2 * DAY, limit=20_000).more:
            pass
        verify_sound(archive)
        assert archive.stat().envelopes == len(left)
    assert check_pages(tmp_path) == (0, [])


def test_bad_arguments(tmp_path: Path) -> None:
    with Archive(tmp_path / "archive") as archive:
        with pytest.raises(ValueError, match="positive"):
            archive.prune(-1, limit=1)
        with pytest.raises(ValueError, match="positive"):
            archive.prune(1, limit=0)
