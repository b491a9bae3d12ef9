"""Threads that work for one event loop: for Python functions, and for compiled jobs.

They replace ThreadPoolExecutor, whose lock, second future and callbacks between the two futures
cost twice as much as a small read of the archive.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

from wakumail.base.jobs import Job, JobThreads

T = TypeVar("T")


class Threads:
    """`count` threads for Python functions, which wait while all are busy. Made on the loop.

    The threads start at once, so that a system without room for them fails at the start and not
    under load.
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
        """The result or exception of `work`, called in a thread unless cancelled before that."""
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
        """Wait for the work under way, and end the threads; nothing may be run any more."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while job := self._jobs.get():
            job()


class CompiledThreads:
    """`count` threads that do jobs without the interpreter's lock. Made on the loop."""

    def __init__(self, count: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._threads = JobThreads(count)
        self._done_event = self._threads.fileno()
        self._loop.add_reader(self._done_event, self._settle)

    def run(self, job: "Job[T]") -> asyncio.Future[T]:
        """The result of a job, or its exception. A cancelled future does not stop the job."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._threads.begin(job, future)
        return future

    def close(self) -> None:
        """Wait for all jobs, and end the threads; nothing may be run any more."""
        self._loop.remove_reader(self._done_event)
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
