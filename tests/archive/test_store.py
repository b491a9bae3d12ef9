"""The store: group commit, the intervals between commits, bounds, retention."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.archive_model import batch_of
from tests.support.disks import Disk
from tests.support.envelopes import make
from tests.support.patience import PATIENCE, asynchronous, eventually
from wakumail.archive import commit_queue, retention, writer_thread
from wakumail.archive import store as store_module
from wakumail.archive.archive import Appended, Archive, Query
from wakumail.archive.durability import Durability
from wakumail.archive.retention import KEEP_EVERYTHING, Retention
from wakumail.archive.store import Store
from wakumail.counters import Counters
from wakumail.errors import ArchiveFull
from wakumail.waku.envelope import Batch, Envelope

TOPICS = [b"aaaa", b"bbbb"]
DAY = 86400


@asynccontextmanager
async def store_in(path: Path, **choices: Any) -> AsyncIterator[tuple[Store, Counters]]:
    counters = Counters()
    usual: dict[str, Any] = {"durability": Durability.COMMIT, "retention": KEEP_EVERYTHING}
    store = Store(Archive(path / "archive"), counters, **usual | choices)
    try:
        yield store, counters
    finally:
        await store.close()


async def put(store: Store, envelopes: list[Envelope]) -> None:
    """Return when the envelopes are on disk."""
    done = asyncio.Event()
    store.put(batch_of(envelopes), done.set)
    await asyncio.wait_for(done.wait(), PATIENCE)


@asynchronous
async def test_what_is_queued_goes_into_one_commit(tmp_path: Path) -> None:
    async with store_in(tmp_path) as (store, counters):
        done: list[int] = []
        for number in range(100):
            store.put(batch_of(make(3, TOPICS, seed=number)), partial(done.append, number))
        await eventually(lambda: len(done) == 100)
        assert done == list(range(100))
        assert counters["envelopes_archived"] == 300
        assert counters["commits"] < 20


@asynchronous
async def test_closing_commits_what_is_queued(tmp_path: Path) -> None:
    done: list[int] = []
    async with store_in(tmp_path, durability=Durability.INTERVAL) as (store, _):
        for number in range(10):
            store.put(batch_of(make(3, TOPICS, seed=number)), partial(done.append, number))
    assert done == list(range(10))
    with Archive(tmp_path / "archive") as archive:
        assert archive.stat().envelopes == 30


@asynchronous
async def test_an_interval_gathers_what_comes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_thread, "COMMIT_INTERVAL", 0.05)
    async with store_in(tmp_path, durability=Durability.INTERVAL) as (store, counters):
        started = time.monotonic()
        for number in range(30):
            await put(store, make(1, TOPICS, seed=number))
            if time.monotonic() - started > 0.2:
                break
        assert 1 <= counters["commits"] <= (time.monotonic() - started) / 0.05 + 2


class Watched(Disk):
    """Notes the times of each append and its bytes of memory, from now on."""

    def __init__(self, store: Store) -> None:
        self.commits: list[tuple[float, float, int]] = []
        """Begin and end (time.monotonic), and bytes of memory of the batches."""
        self.appended = threading.Semaphore(0)
        super().__init__(store)

    def append(self, batches: list[Batch]) -> Appended:
        begun = time.monotonic()
        appended = self.archive.append(batches)
        self.commits.append((begun, time.monotonic(), sum(batch.memory for batch in batches)))
        self.appended.release()
        return appended


@asynchronous
async def test_as_much_as_a_commit_takes_waits_for_no_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_thread, "COMMIT_INTERVAL", 3600.0)
    monkeypatch.setattr(commit_queue, "MAX_COMMIT_BYTES", 20_000)
    async with store_in(tmp_path, durability=Durability.INTERVAL) as (store, _):
        await put(store, make(1, TOPICS))
        watched = Watched(store)
        numbers = count()
        for _ in range(10):  # the loop reports none of them meanwhile
            size = 0
            while size < 20_000:
                batch = batch_of(make(3, TOPICS, seed=next(numbers)))
                store.put(batch, lambda: None)
                size += batch.memory
            assert watched.appended.acquire(timeout=PATIENCE)
        assert [size >= 20_000 for _, _, size in watched.commits] == [True] * 10


@asynchronous
async def test_the_writer_rests_after_a_busy_commit_as_long_as_that_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_thread, "BUSY_COMMIT_BYTES", 1)
    monkeypatch.setattr(writer_thread, "MAX_REST", 3600.0)
    async with store_in(tmp_path) as (store, _):
        watched = Watched(store)
        for number in range(5):
            await put(store, make(1, TOPICS, seed=number))
    for (begun, ended, _), (next_begun, _, _) in pairwise(watched.commits):
        assert next_begun - ended >= ended - begun


@asynchronous
async def test_a_full_queue_says_so_and_when_it_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MAX_UNCOMMITTED_BYTES", 20_000)
    async with store_in(tmp_path) as (store, _):
        room = asyncio.Event()
        store.on_room = room.set
        while not store.full:
            store.put(batch_of(make(10, TOPICS)), lambda: None)
        await asyncio.wait_for(room.wait(), PATIENCE)
        assert not store.full


@asynchronous
async def test_retention_by_age_beside_ingest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "RETENTION_INTERVAL", 0.01)
    monkeypatch.setattr(retention, "PRUNE_SLICE", 50)
    now = int(time.time())
    async with store_in(tmp_path, retention=Retention(10 * DAY, max_size=0, sort_days=False)) as (
        store,
        counters,
    ):
        old = make(500, TOPICS, created=now - 11 * DAY, seed=1)
        new = make(300, TOPICS, created=now - 9 * DAY, seed=2)
        await put(store, old + new)
        for number in range(20):
            await put(store, make(1, TOPICS, seed=3 + number))
        await eventually(lambda: counters["envelopes_pruned"] == 500)
        assert store.archive.stat().envelopes == 320
        page = await store.pages.read(Query(0, now - 10 * DAY), b"", limit=1, max_bytes=1 << 20)
        assert page.count == 0


@asynchronous
async def test_a_clock_that_was_never_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(time=lambda: 1000.0, monotonic=time.monotonic)
    monkeypatch.setattr(retention, "time", clock)
    monkeypatch.setattr(retention, "RETENTION_INTERVAL", 0.0)
    async with store_in(tmp_path, retention=Retention(10 * DAY, max_size=0, sort_days=False)) as (
        store,
        _,
    ):
        for number in range(3):
            await put(store, make(1, TOPICS, seed=number))
        assert store.archive.stat().envelopes == 3


@asynchronous
async def test_retention_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "RETENTION_INTERVAL", 0.01)
    bound = 1 << 20
    async with store_in(tmp_path, retention=Retention(0, bound, sort_days=False)) as (
        store,
        counters,
    ):
        for number in range(30):
            created = int(time.time()) - (30 - number) * 3600
            await put(store, make(300, TOPICS, created=created, seed=number))
        await eventually(lambda: store.archive.stat().file_bytes <= bound)
        left = store.archive.stat()
        assert 0 < left.envelopes < 9000
        await eventually(lambda: left.envelopes + counters["envelopes_pruned"] == 9000)
        assert left.oldest is not None
        assert left.oldest > time.time() - 20 * 3600


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@asynchronous
async def test_a_writer_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with store_in(tmp_path) as (store, _):
        broken = asyncio.Event()
        store.on_broken = broken.set
        monkeypatch.setattr(store.writer, "_commit", lambda entries: 1 // 0)
        store.put(batch_of(make(1, TOPICS)), lambda: pytest.fail("it is not on disk"))
        await asyncio.wait_for(broken.wait(), PATIENCE)
        assert store.degraded == "the writer has died"


@pytest.mark.parametrize("archived", [retention.SHOWING, 0], ids=["shown", "shown by who waits"])
@asynchronous
async def test_a_full_disk_is_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archived: int
) -> None:
    """Pruning may free the room that a commit needs, also if nothing newer is in the archive."""
    monkeypatch.setattr(retention, "RETENTION_INTERVAL", 0.001)
    monkeypatch.setattr(writer_thread, "COMMIT_RETRY_INTERVAL", 0.001)
    async with store_in(tmp_path, retention=Retention(10 * DAY, max_size=0, sort_days=False)) as (
        store,
        counters,
    ):
        archive = store.archive
        now = int(time.time())
        old = make(100, TOPICS, created=now - 11 * DAY)
        archive.append([batch_of(old + make(archived, TOPICS, seed=2))])

        class FullUntilPruned(Disk):
            def append(self, batches: list[Batch]) -> Appended:
                if (archive.stat().oldest or now) < now - 10 * DAY:
                    raise ArchiveFull("no room")
                return archive.append(batches)

        monkeypatch.setattr(store.writer.retention, "next_look", time.monotonic() + 0.01)
        FullUntilPruned(store)
        await put(store, make(retention.SHOWING, TOPICS))
        assert counters["envelopes_pruned"] == 100


@asynchronous
async def test_a_report_that_fails_stops_nothing(tmp_path: Path) -> None:

    def fail() -> None:
        raise RuntimeError("no peer")

    async with store_in(tmp_path) as (store, _):
        store.put(batch_of(make(1, TOPICS)), fail)
        await put(store, make(2, TOPICS, seed=2))
