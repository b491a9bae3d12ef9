"""Small pages that are in memory are read at once; what would have to wait is left to a thread."""

import asyncio
import os
import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archive_model import DAY, START, batch_of, envelope, make
from tests.support.patience import PATIENCE, asynchronous
from wakumail.archive.archive import AT_ONCE_BYTES, AT_ONCE_HITS, Archive, Page, PageState, Query
from wakumail.archive.page_reader import AT_ONCE_IN_A_TURN, PageReader
from wakumail.counters import Counters

LAST = 2**32 - 1
RARE, LARGE, MANY, FULL = b"rare", b"huge", b"many", b"full"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """Topics with few envelopes, with many, with as many as fit, and with large ones."""
    counts = {RARE: 5, FULL: AT_ONCE_HITS, MANY: AT_ONCE_HITS + 1}
    stored = [
        envelope(START + each, topic, each)
        for topic, count in counts.items()
        for each in range(count)
    ]
    stored += [envelope(START + each, LARGE, each, AT_ONCE_BYTES // 3) for each in range(4)]
    with Archive(tmp_path_factory.mktemp("stored")) as archive:
        archive.append([batch_of(stored)])
        yield archive


def of(topic: bytes) -> Query:
    return Query(0, LAST, topics=[topic])


def read(archive: Archive, query: Query, *, limit: int = 1000, max_bytes: int = 1 << 20) -> Page:
    return archive.page_job(query, limit=limit, max_bytes=max_bytes).do()


def read_at_once(archive: Archive, query: Query, *, limit: int = 1000) -> Page:
    """A page that the system may have taken out of memory is soon in memory again."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        read(archive, query, limit=limit)
        page = archive.page_at_once(query, limit=limit, max_bytes=1 << 20)
        if page is not None:
            return page
    raise AssertionError("the page was never read at once")


@pytest.mark.parametrize("topic", [RARE, FULL, b"none"])
def test_a_small_page(archive: Archive, topic: bytes) -> None:
    assert read_at_once(archive, of(topic)) == read(archive, of(topic))


@pytest.mark.parametrize("limit", [0, 1, AT_ONCE_HITS])
def test_a_small_limit(archive: Archive, limit: int) -> None:
    page = read_at_once(archive, of(MANY), limit=limit)
    assert page == read(archive, of(MANY), limit=limit)
    assert page.state is PageState.MORE


def test_larger_pages_are_not_read(archive: Archive) -> None:
    read_at_once(archive, of(RARE))
    assert archive.page_at_once(of(MANY), limit=1000, max_bytes=1 << 20) is None
    assert archive.page_at_once(of(LARGE), limit=1000, max_bytes=1 << 20) is None


def test_a_client_may_ask_for_smaller_pages(archive: Archive) -> None:
    read_at_once(archive, of(LARGE), limit=1)
    page = archive.page_at_once(of(LARGE), limit=1000, max_bytes=AT_ONCE_BYTES // 2)
    assert page == read(archive, of(LARGE), max_bytes=AT_ONCE_BYTES // 2)


def test_a_search_of_many_days_is_left_to_a_thread(tmp_path: Path) -> None:
    """It finds little, but looks at much."""
    stored = [envelope(START + each * DAY, RARE, each) for each in range(1200)]
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(stored)])
        absent = of(b"none")
        assert read(archive, absent).state is PageState.EXHAUSTED
        assert archive.page_at_once(absent, limit=1000, max_bytes=1 << 20) is None


def thread_waits() -> int:
    return resource.getrusage(resource.RUSAGE_THREAD).ru_majflt


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="no way to evict a file")
def test_the_disk_is_not_waited_for(tmp_path: Path) -> None:
    stored, evicted = tmp_path / "stored", tmp_path / "evicted"
    envelopes = make(4000, size=1000)
    with Archive(stored) as archive:
        archive.append([batch_of(envelopes)])
    evicted.mkdir()
    shutil.copy(stored / "data.mdb", evicted)
    with (evicted / "data.mdb").open("rb") as file:
        os.fdatasync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    seconds = sorted({each.created for each in envelopes})[::100]
    queries = [Query(second, second) for second in seconds]
    with Archive(evicted) as archive:
        archive.stat()  # leaves an ended transaction
        before = thread_waits()
        at_once = [archive.page_at_once(query, limit=1, max_bytes=1 << 20) for query in queries]
        assert thread_waits() == before
        for query in queries:
            read(archive, query)
        if thread_waits() == before:
            pytest.skip("the system keeps the file in memory")
        assert None in at_once
        for query in queries:
            assert read_at_once(archive, query, limit=1) == read(archive, query, limit=1)


def finishes_at_once(reader: PageReader, query: Query) -> bool:
    """True if the page is there without a turn of the event loop."""
    reading = reader.read(query, b"", limit=1000, max_bytes=1 << 20)
    try:
        reading.send(None)
    except StopIteration:
        return True
    finally:
        reading.close()
    return False


@asynchronous
async def test_the_event_loop_reads_a_few_pages_in_a_turn(archive: Archive) -> None:
    reader = PageReader(archive, Counters())
    try:
        for _ in range(3):  # turns
            read_at_once(archive, of(RARE))
            at_once = [finishes_at_once(reader, of(RARE)) for _ in range(AT_ONCE_IN_A_TURN + 2)]
            assert not any(at_once[AT_ONCE_IN_A_TURN:])
            await asyncio.sleep(0)
            if all(at_once[:AT_ONCE_IN_A_TURN]):
                break
        else:
            raise AssertionError("small pages went to a thread")
        page = await reader.read(of(MANY), b"", limit=1000, max_bytes=1 << 20)
        assert page == read(archive, of(MANY))
    finally:
        reader.close()
