"""Readers: threads that read for one event loop.

What a ThreadPoolExecutor does beside that (a lock, a second future, callbacks between the two)
costs twice what a small read does.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


class Readers:
    """So many threads; what is asked of them waits in one queue. Made on the loop."""

    def __init__(self, count: int, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}") for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, read: Callable[[], T]) -> T:
        """What `read` answers or raises in one of the threads."""
        future: asyncio.Future[T] = self._loop.create_future()

        def job() -> None:
            if future.cancelled():
                return
            try:
                answer = read()
            except Exception as error:
                self._loop.call_soon_threadsafe(_fail, future, error)
            else:
                self._loop.call_soon_threadsafe(_finish, future, answer)

        self._jobs.put(job)
        return await future

    def close(self) -> None:
        """Wait for what is being read, and end the threads; nothing may be asked any more."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while job := self._jobs.get():
            job()


def _finish(future: asyncio.Future[T], answer: T) -> None:
    if not future.cancelled():
        future.set_result(answer)


def _fail(future: asyncio.Future[T], error: Exception) -> None:
    if not future.cancelled():
        future.set_exception(error)
