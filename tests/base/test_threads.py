"""Threads: results, exceptions, and work that was cancelled."""

import asyncio
import ctypes
import os
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from tests.support.patience import asynchronous
from wakumail.archive.archive import Archive, Page, Query
from wakumail.base.jobs import Job, JobThreads
from wakumail.base.threads import CompiledThreads, Threads
from wakumail.devp2p.frame_writer import Encryption, FrameWriter
from wakumail.errors import ArchiveError


@asynchronous
async def test_answers_and_errors_come_back_to_the_loop() -> None:
    threads = Threads(2, "some")
    assert await threads.run(lambda: threading.current_thread().name) in ("some-0", "some-1")
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)
    threads.close()


@asynchronous
async def test_what_is_cancelled_is_not_begun() -> None:
    threads, go = Threads(1, "one"), threading.Event()
    first = threads.run(go.wait)
    begun: list[int] = []
    second, third = (threads.run(partial(begun.append, number)) for number in (2, 3))
    second.cancel()
    go.set()
    await asyncio.gather(first, third)
    assert begun == [3]
    threads.close()


@asynchronous
async def test_what_is_cancelled_under_way_is_let_go() -> None:
    threads, begun, go = Threads(1, "one"), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait()

    future = threads.run(work)
    await asyncio.to_thread(begun.wait)
    future.cancel()
    go.set()
    assert await threads.run(lambda: 1) == 1
    threads.close()


@asynchronous
async def test_close_waits_for_all_that_was_asked() -> None:
    threads = Threads(2, "some")
    done: list[int] = []
    for number in range(20):
        threads.run(partial(done.append, number))
    threads.close()
    assert sorted(done) == list(range(20))


def sealing(size: int = 1000) -> "Job[list[bytes]]":
    """A job that takes longer with its size."""
    writer = FrameWriter(bytes(32), bytes(32), b"")
    writer.add(bytes(size))
    return Encryption([writer])


def reading(archive: Archive) -> "Job[Page]":
    return archive.page_job(Query(0, 1), limit=1, max_bytes=100)


@asynchronous
async def test_results_and_errors_of_jobs_come_back_to_the_loop(tmp_path: Path) -> None:
    threads = CompiledThreads(2)
    with Archive(tmp_path) as archive:
        assert (
            await threads.run(reading(archive))
            == archive.page_job(Query(0, 1), limit=1, max_bytes=100).do()
        )
    with pytest.raises(ArchiveError, match="closed"):
        await threads.run(reading(archive))
    threads.close()


@asynchronous
async def test_a_job_that_is_cancelled_is_let_go() -> None:
    threads = CompiledThreads(1)
    threads.run(sealing(1 << 20)).cancel()
    assert len(await threads.run(sealing())) == 1
    threads.close()


@asynchronous
async def test_close_waits_for_all_jobs() -> None:
    threads = CompiledThreads(2)
    futures = [threads.run(sealing()) for _ in range(20)]
    threads.close()
    assert all(future.done() for future in futures)
    with pytest.raises(RuntimeError, match="ended"):
        threads.run(sealing())


def test_jobs_are_done_while_python_has_its_lock() -> None:
    threads, interval = JobThreads(1), sys.getswitchinterval()
    rung = ctypes.c_uint64()
    eventfd_read = ctypes.PyDLL(None).eventfd_read  # keeps the GIL, unlike os.eventfd_read
    sys.setswitchinterval(1000)
    try:
        job = sealing()
        threads.begin(job, None)
        late = time.monotonic() + 60
        while eventfd_read(threads.fileno(), ctypes.byref(rung)) and time.monotonic() < late:
            pass
        assert rung.value == 1
        assert threads.finished() == [job]
    finally:
        sys.setswitchinterval(interval)
    threads.close()


def test_a_job_is_done_once_and_has_one_result() -> None:
    threads, job = JobThreads(1), sealing()
    with pytest.raises(RuntimeError, match="not done"):
        job.result()
    threads.begin(job, "whatever")
    with pytest.raises(RuntimeError, match="begun before"):
        threads.begin(job, None)
    with pytest.raises(RuntimeError, match="begun before"):
        job.do()
    threads.close()
    assert threads.finished() == [job]
    assert job.future == "whatever"
    assert len(job.result()) == 1
    with pytest.raises(RuntimeError, match="taken"):
        job.result()


def test_a_job_that_has_nothing_to_do_is_refused() -> None:
    threads = JobThreads(1)
    with pytest.raises(RuntimeError, match="nothing to do"):
        threads.begin(Job(), None)
    with pytest.raises(RuntimeError, match="nothing to do"):
        Job().do()
    threads.close()


def test_a_job_that_was_done_here_cannot_be_begun() -> None:
    threads, job = JobThreads(1), sealing()
    assert len(job.do()) == 1
    with pytest.raises(RuntimeError, match="begun before"):
        job.do()
    with pytest.raises(RuntimeError, match="begun before"):
        threads.begin(job, None)
    threads.close()


def test_threads_that_are_let_go_end_and_close_their_bell() -> None:
    threads = JobThreads(3)
    for _ in range(9):
        threads.begin(sealing(), None)
    bell = threads.fileno()
    del threads
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(bell)
