"""Work on an archive that is not in memory: it does not wait for the disk page by page."""

import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.archive_model import DAY, START, batch_of, make
from wakumail.archive.archive import Archive, Query

COUNT = 4000
"""Envelopes of a kilobyte: a chunk holds seven."""

MAX_WAITS = 150
"""Of some 600 chunks with two pages each, and 150 pages of indexes."""


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
    days = archive.days()
    assert archive.prune(days[-1].start, limit=COUNT).envelopes == COUNT - days[-1].envelopes


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


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="no way to evict a file")
def test_a_topic_of_many_days_is_not_waited_for_day_by_day(tmp_path: Path) -> None:
    days = 60
    with Archive(tmp_path) as archive:
        archive.append([batch_of(make(20_000, spread=days * DAY, size=100))])
        for day in archive.days():
            while archive.sort(day.start, max_bytes=1 << 20, max_seconds=60).more:
                pass
    with (tmp_path / "data.mdb").open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with Archive(tmp_path, readonly=True) as archive:
        query = Query(0, 2**32 - 1, topics=[bytes([0, 0, 0, 7])])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
        page = archive.page_job(query, limit=2000, max_bytes=1 << 30).do()
        waits = resource.getrusage(resource.RUSAGE_SELF).ru_majflt - before
    assert page.count > 10 * days
    if not waits:
        pytest.skip("the system keeps the file in memory")
    assert waits < days
