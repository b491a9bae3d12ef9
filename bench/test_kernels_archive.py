"""Micro benches of the archive, beside the same work through py-lmdb."""

import asyncio
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import lmdb
import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from wakumail.archive.archive import Archive, Page, PageState, Query
from wakumail.base.threads import CompiledThreads
from wakumail.load.workload.archived_traffic import DAY, TRAFFIC_END, ArchivedTraffic
from wakumail.waku.envelope import Batch

T = TypeVar("T")

ARCHIVED = 20_000
ONE_DAY = ArchivedTraffic(ARCHIVED, 1000, days=1)
TOPICS = Random(1).sample(ONE_DAY.topics, 10)
QUERY = {"topic": TOPICS[:1], "ten topics": TOPICS}
COMMIT = 1000
MAP_SIZE = 1 << 30


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """An archive of envelopes of one day on 1000 topics, and a copy of its file."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with Archive(directory / "archive", sync=False) as archive:
            for batch in ONE_DAY.batches(COMMIT):
                archive.append([batch])
        shutil.copytree(directory / "archive", directory / "copy")
        yield directory


async def made(make: Callable[[], T]) -> T:
    """Call a constructor that needs a running loop."""
    return make()


def scan_in_python(env: lmdb.Environment, topics: set[bytes]) -> int:
    """Scan the time range plainly: every entry is looked at."""
    found = 0
    times = env.open_db(b"times", create=False)
    with env.begin(times) as txn:
        for _key, value in txn.cursor().iterprev():
            found += value[:4] in topics
    return found


@pytest.mark.parametrize("topics", QUERY.values(), ids=list(QUERY))
@pytest.mark.parametrize("side", ["ours", "py-lmdb scan"])
def test_page(benchmark: BenchmarkFixture, directory: Path, side: str, topics: list[bytes]) -> None:
    benchmark.group = f"{len(topics)} of 1000 topics, {ARCHIVED} envelopes"
    expected = sum(
        topic in topics for batch in ONE_DAY.batches(COMMIT) for topic in topic_of(batch)
    )
    if side == "ours":
        query = Query(TRAFFIC_END - 2 * DAY, TRAFFIC_END, topics=topics)
        with Archive(directory / "archive", readonly=True) as archive:
            page = benchmark(lambda: archive.page_job(query, limit=1000, max_bytes=1 << 20).do())
        assert (page.count, page.state) == (expected, PageState.EXHAUSTED)
    else:
        with lmdb.open(str(directory / "copy"), max_dbs=16, readonly=True) as env:
            assert benchmark(scan_in_python, env, set(topics)) == expected


@pytest.mark.benchmark(group="a page of one topic, read beside the loop")
@pytest.mark.parametrize("side", ["ours", "executor"])
def test_page_beside_the_loop(benchmark: BenchmarkFixture, directory: Path, side: str) -> None:
    query = Query(TRAFFIC_END - 2 * DAY, TRAFFIC_END, topics=TOPICS[:1])
    with (
        Archive(directory / "archive", readonly=True) as archive,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        threads = runner.run(made(partial(CompiledThreads, 1)))
        loop = runner.get_loop()

        async def ask() -> Page:
            job = archive.page_job(query, limit=1000, max_bytes=1 << 20)
            if side == "ours":
                return await threads.run(job)
            return await loop.run_in_executor(None, job.do)

        page = benchmark(lambda: runner.run(ask()))
        assert page == archive.page_job(query, limit=1000, max_bytes=1 << 20).do()
        runner.run(made(threads.close))


def fold_in_python(env: lmdb.Environment) -> tuple[int, int]:
    """Sum what `times` has of the hashes, row by row."""
    count = total = 0
    times = env.open_db(b"times", create=False)
    with env.begin(times) as txn:
        for key, _value in txn.cursor():
            count += 1
            total += int.from_bytes(key[4:], "little")
    return count, total % 2**256


@pytest.mark.benchmark(group=f"a sum over {ARCHIVED} envelopes")
@pytest.mark.parametrize("side", ["ours", "ours, within a minute", "py-lmdb"])
def test_fold(benchmark: BenchmarkFixture, directory: Path, side: str) -> None:
    if side == "py-lmdb":
        with lmdb.open(str(directory / "copy"), max_dbs=16, readonly=True) as env:
            count, _ = benchmark(fold_in_python, env)
    else:
        minute = TRAFFIC_END // 60 * 60 - DAY // 2
        cut = (minute + 30, b"\x80") if side == "ours, within a minute" else (minute, b"")
        with Archive(directory / "archive", readonly=True) as archive, archive.items() as items:
            parts = benchmark(
                lambda: (items.fold((0, b""), cut).count, items.fold(cut, (2**64 - 1, b"")).count)
            )
        count = sum(parts)
    assert count == ARCHIVED


def topic_of(batch: Batch) -> list[bytes]:
    return [envelope.topic for envelope in batch]


def append_in_python(env: lmdb.Environment, batch: Batch) -> int:
    """Store envelopes by number, each with a row by time and a row by topic."""
    names = (b"envelopes", b"times", b"topics")
    data, times, topics = (env.open_db(name) for name in names)
    with env.begin(write=True) as txn:
        number = txn.stat(data)["entries"]
        for envelope in batch:
            row = struct.pack(">Q", number)
            when = struct.pack(">I", envelope.created)
            txn.put(row, envelope.rlp, append=True, db=data)
            txn.put(when + envelope.hash, envelope.topic + row, db=times)
            txn.put(envelope.topic + when + envelope.hash, row, db=topics)
            number += 1
    return number


@pytest.mark.benchmark(group=f"a commit of {COMMIT} envelopes, not synced")
@pytest.mark.parametrize("side", ["ours", "py-lmdb"])
def test_append(benchmark: Any, tmp_path: Path, side: str) -> None:
    """Each round appends other envelopes; reading and hashing them is not measured."""
    rounds = 15
    batches = list(islice(ArchivedTraffic(COMMIT * rounds, 1000).batches(COMMIT), rounds))
    left = iter(batches)

    def setup() -> tuple[tuple[Batch], dict[str, object]]:
        return (next(left),), {}

    if side == "ours":
        with Archive(tmp_path / "archive", sync=False) as archive:
            benchmark.pedantic(lambda b: archive.append([b]), setup=setup, rounds=rounds)
            stored = archive.stat().envelopes
    else:
        with lmdb.open(str(tmp_path), max_dbs=3, map_size=MAP_SIZE, sync=False) as env:
            benchmark.pedantic(lambda b: append_in_python(env, b), setup=setup, rounds=rounds)
            with env.begin() as txn:
                stored = txn.stat(env.open_db(b"envelopes", txn))["entries"]
    assert stored == COMMIT * (rounds if benchmark.enabled else 1)
