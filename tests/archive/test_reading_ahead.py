"""Work on an archive that is not in memory: it does not wait for the disk page by page."""

import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.archive_model import DAY, START, batch_of, make
from wakumail.archive.archive import Archive, Query
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
    with (tmp_path / "data.mdb").open("rb") as file:
        os.fdatasync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with Archive(tmp_path, readonly=work is not prune) as archive:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
        work(archive)
        waits = resource.getrusage(resource.RUSAGE_SELF).ru_majflt - before
    if not waits:
        pytest.skip("the system keeps the file in memory")
    assert waits < MAX_WAITS


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
    with (tmp_path / "data.mdb").open("rb") as file:
        os.fdatasync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with Archive(tmp_path, readonly=True) as archive:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
        page = archive.page_job(query, limit=2000, max_bytes=1 << 30).do()
        waits = resource.getrusage(resource.RUSAGE_SELF).ru_majflt - before
    assert (page.count == 0) == (kind == "absent")
    if not waits:
        pytest.skip("the system keeps the file in memory")
    assert waits < MAX_ANSWER_WAITS
