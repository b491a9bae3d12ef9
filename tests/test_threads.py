"""Threads: what they answer, what they raise, and what nobody waits for any more."""

import asyncio
import threading
from functools import partial

import pytest

from tests.puppet import asynchronous
from wakumail.threads import Threads


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
