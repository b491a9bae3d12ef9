"""Work on an archive that is not in memory: it does not wait for the disk page by page."""

import ctypes
import mmap
import os
import resource
import shutil
import threading
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path

import pytest

from tests.support.archive_model import DAY, START, batch_of, make
from tests.support.damaged_files import FLAGS_AT, P_BRANCH, P_LEAF, PAGE
from tests.support.patience import asynchronous, eventually, until
from wakumail.archive import branch_pages
from wakumail.archive.archive import Archive, Query
from wakumail.archive.branch_pages import BranchPages
from wakumail.archive.durability import Durability
from wakumail.archive.results import Day
from wakumail.archive.retention import KEEP_EVERYTHING
from wakumail.archive.store import Store
from wakumail.counters import Counters
from wakumail.waku.bloom import bloom_of

COUNT = 4000
"""Envelopes of a kilobyte: a chunk holds seven."""

MAX_WAITS = 150
"""Of some 600 chunks with two pages each, and 150 pages of indexes."""


MAX_ANSWER_WAITS = 25
"""Of some 60 pages of indexes and 60 chunks."""


@pytest.fixture(scope="module", params=["unsorted", "sorted"])
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of three days; with "sorted" the first two are."""
    path = tmp_path_factory.mktemp("stored")
    envelopes = make(COUNT, size=1000)
    with Archive(path) as archive:
        for at in range(0, COUNT, 500):
            archive.append([batch_of(envelopes[at : at + 500])])
        for day in (START, START + DAY) if request.param == "sorted" else ():
            while archive.sort(day, max_bytes=1 << 20, max_seconds=60).more:
                pass
    return path


def follow(archive: Archive) -> None:
    sequence = 0
    while sequence < COUNT:
        sequence = archive.follow(sequence, max_bytes=1 << 20)[1]


def arrived(archive: Archive) -> None:
    assert len(archive.arrived(0, limit=COUNT)[0]) == 36 * COUNT


def verify(archive: Archive) -> None:
    with archive.verify() as verification:
        assert sum(verification) == verification.total
        assert verification.problems == 0


def copy(archive: Archive) -> None:
    archive.copy(Path(archive.path) / "copy")


def prune(archive: Archive) -> None:
    end = archive.days()[-1].start
    while archive.prune(end, limit=COUNT).more:
        pass
    assert [day.start for day in archive.days()] == [end]


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="no way to evict a file")
@pytest.mark.parametrize("work", [follow, arrived, verify, copy, prune])
def test_few_pages_are_waited_for(
    stored: Path, tmp_path: Path, work: Callable[[Archive], None]
) -> None:
    shutil.copy(stored / "data.mdb", tmp_path)
    evict(tmp_path / "data.mdb")
    with Archive(tmp_path, readonly=work is not prune) as archive:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
        work(archive)
        waits = resource.getrusage(resource.RUSAGE_SELF).ru_majflt - before
    if not waits:
        pytest.skip("the system keeps the file in memory")
    assert waits < MAX_WAITS


def evict(file: Path) -> None:
    """Have the system forget what it has of a file in memory."""
    with file.open("rb") as opened:
        os.fdatasync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def pages_in_memory(file: Path) -> list[int]:
    """The flags of the pages of a file that the system has in memory."""
    size = file.stat().st_size
    found = (ctypes.c_ubyte * (size // PAGE))()
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), size) as mapped:
        mapped.madvise(mmap.MADV_RANDOM)  # else a look at a page reads those around it
        start = ctypes.c_char.from_buffer(mapped)
        address = ctypes.c_void_p(ctypes.addressof(start))
        failed = ctypes.CDLL(None).mincore(address, ctypes.c_size_t(size), found)
        del start
        assert not failed
        numbers = [number for number, is_there in enumerate(found) if is_there & 1]
        return [mapped[PAGE * number + FLAGS_AT] for number in numbers]


@pytest.fixture(scope="module")
def many_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of 60 days, all sorted, with some 16 envelopes of each topic in each day."""
    path = tmp_path_factory.mktemp("days")
    with Archive(path) as archive:
        archive.append([batch_of(make(20_000, spread=60 * DAY, size=100))])
        for day in archive.days():
            while archive.sort(day.start, max_bytes=1 << 20, max_seconds=60).more:
                pass
    return path


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="no way to evict a file")
@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("kind", ["topic", "bloom", "absent", "topics of a day"])
def test_an_answer_is_not_waited_for_day_by_day(
    many_days: Path, tmp_path: Path, kind: str, newest_first: bool
) -> None:
    topics = [bytes([0, 0, 0, number]) for number in (range(16) if "day" in kind else [7])]
    if kind == "absent":
        topics = [b"\0\1\2\3"]
    bloom = bloom_of(topics) if kind == "bloom" else None
    upper = START + DAY if "day" in kind else 2**32 - 1
    query = Query(
        0, upper, topics=None if bloom else topics, bloom=bloom, newest_first=newest_first
    )
    shutil.copy(many_days / "data.mdb", tmp_path)
    evict(tmp_path / "data.mdb")
    with Archive(tmp_path, readonly=True) as archive:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
        page = archive.page_job(query, limit=2000, max_bytes=1 << 30).do()
        waits = resource.getrusage(resource.RUSAGE_SELF).ru_majflt - before
    assert (page.count == 0) == (kind == "absent")
    if not waits:
        pytest.skip("the system keeps the file in memory")
    assert waits < MAX_ANSWER_WAITS


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="no way to evict a file")
def test_branch_pages_of_a_day_are_read_and_nothing_else(tmp_path: Path) -> None:
    """The system may forget any page at any time, so what it has is only the most that was read."""
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(make(20_000, spread=DAY, size=10))])
    evict(tmp_path / "data.mdb")
    if pages_in_memory(tmp_path / "data.mdb"):
        pytest.skip("the system keeps the file in memory")
    with Archive(tmp_path, readonly=True) as archive:
        opened = pages_in_memory(tmp_path / "data.mdb")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_inblock
        branches = archive.read_branches(START) // PAGE
        read = (resource.getrusage(resource.RUSAGE_SELF).ru_inblock - before) * 512 // PAGE
        in_memory = pages_in_memory(tmp_path / "data.mdb")
        assert archive.read_branches(START - DAY) < branches * PAGE
    assert read >= branches - opened.count(P_BRANCH) >= 3
    roots = 4
    assert len(in_memory) <= len(opened) + branches + roots
    assert in_memory.count(P_LEAF) <= opened.count(P_LEAF) + 2  # two of the roots


class ReadBranches(Archive):
    """An archive that notes the days whose branch pages are read: their first seconds."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, sync=False)
        self.starts: list[int] = []

    def read_branches(self, start: int) -> int:
        self.starts.append(start)
        return super().read_branches(start)


@pytest.mark.parametrize(("bound", "days"), [(1, 1), (branch_pages.MAX_BRANCH_BYTES, 60)])
def test_branch_pages_of_the_newest_days_are_read_up_to_a_bound(
    many_days: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: int, days: int
) -> None:
    monkeypatch.setattr(branch_pages, "MAX_BRANCH_BYTES", bound)
    shutil.copy(many_days / "data.mdb", tmp_path)
    with ReadBranches(tmp_path) as archive:
        every = [day.start for day in archive.days()]
        reading = BranchPages(archive)
        reading.wait()
        reading.close()
    assert archive.starts == every[: -days - 1 : -1]


@asynchronous
async def test_a_store_reads_branch_pages_when_it_starts(many_days: Path, tmp_path: Path) -> None:
    shutil.copy(many_days / "data.mdb", tmp_path)
    archive = ReadBranches(tmp_path)
    store = Store(archive, Counters(), durability=Durability.COMMIT, retention=KEEP_EVERYTHING)
    await eventually(lambda: len(archive.starts) == 60)
    await store.close()
    assert "branch-pages" not in [thread.name for thread in threading.enumerate()]


def test_branch_pages_of_a_damaged_archive_are_left_to_requests(tmp_path: Path) -> None:
    with ReadBranches(tmp_path) as archive:
        archive.append([batch_of(make(2000, size=10))])
        os.truncate(tmp_path / "data.mdb", 3 * PAGE)
        reading = BranchPages(archive)
        reading.wait()
        reading.close()


def test_no_branch_pages_are_read_of_an_archive_that_closes(tmp_path: Path) -> None:
    class Closes(ReadBranches):
        def read_branches(self, start: int) -> int:
            self.close()
            return super().read_branches(start)

    with Closes(tmp_path) as archive:
        archive.append([batch_of(make(2000, spread=3 * DAY, size=10))])
        reading = BranchPages(archive)
        reading.wait()
        reading.close()
    assert len(archive.starts) == 1


def test_the_reading_of_branch_pages_ends_however_many_days_are_left(tmp_path: Path) -> None:
    class Endless(list[Day]):
        def __reversed__(self) -> Iterator[Day]:
            return repeat(self[0])

    class HasEndlessDays(ReadBranches):
        def days(self) -> list[Day]:
            return Endless([Day(START // DAY * DAY, 1, 1, 1, 0)])

    with HasEndlessDays(tmp_path) as archive:
        reading = BranchPages(archive)
        until(lambda: archive.starts)
        closing = threading.Thread(target=reading.close, daemon=True)
        closing.start()
        until(lambda: not closing.is_alive())
