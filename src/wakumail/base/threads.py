"""Threads that work for one event loop: for Python, and for what is compiled.

What a ThreadPoolExecutor does beside that (a lock, a second future, callbacks between the two)
costs twice what a small read of the archive does.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

from wakumail.base.jobs import Job, JobThreads

T = TypeVar("T")


class Threads:
    """So many threads; what they have no time for waits. Made on the loop.

    They begin at once: a system that gives no more threads is told at the start, not under load.
    """

    def __init__(self, count: int, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """What `work` answers or raises in one of the threads; not begun once it is cancelled."""
        future: asyncio.Future[T] = self._loop.create_future()

        def job() -> None:
            if future.cancelled():
                return
            try:
                answer = work()
            except Exception as error:
                self._loop.call_soon_threadsafe(_fail, future, error)
            else:
                self._loop.call_soon_threadsafe(_finish, future, answer)

        self._jobs.put(job)
        return future

    def close(self) -> None:
        """Wait for what is under way, and end the threads; nothing may be asked any more."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while job := self._jobs.get():
            job()


class CompiledThreads:
    """So many threads for jobs, which they do without the interpreter's lock. Made on the loop."""

    def __init__(self, count: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._threads = JobThreads(count)
        self._bell = self._threads.fileno()
        self._loop.add_reader(self._bell, self._settle)

    def run(self, job: "Job[T]") -> asyncio.Future[T]:
        """The result of a job, or its exception; done even when it is cancelled."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._threads.begin(job, future)
        return future

    def close(self) -> None:
        """Wait for all that was asked, and end the threads; nothing may be asked any more."""
        self._loop.remove_reader(self._bell)
        self._threads.close()
        self._settle()

    def _settle(self) -> None:
        for job in self._threads.finished():
            future = job.future
            if future.cancelled():
                continue
            try:
                answer = job.result()
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(answer)


def _finish(future: asyncio.Future[T], answer: T) -> None:
    if not future.cancelled():
        future.set_result(answer)


def _fail(future: asyncio.Future[T], error: Exception) -> None:
    if not future.cancelled():
        future.set_exception(error)
