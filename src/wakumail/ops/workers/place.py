"""A place: one of the workers that a server has, whichever process it is at the moment."""

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

from wakumail.errors import WakumailError
from wakumail.ops.monitoring.report import Report
from wakumail.ops.workers.channel import CallRefused, Channel, ChannelClosed

log = logging.getLogger(__name__)

STABLE = 10.0
"""Seconds that a worker has to last for its end to be no sign that the next ends as soon."""

FIRST_DELAY, LAST_DELAY = 0.1, 5.0
"""Seconds before a worker that did not last is replaced for the second time in a row; they double
with each further time, up to the last. The first time it is replaced at once."""

MAX_DEATHS = 8
"""Workers of one place in a row that did not last, after which the server gives up."""

STOP_TIMEOUT = 60.0
"""Seconds that a worker has to finish its commit and part from its peers before it is killed."""

ASK_TIMEOUT = 2.0
"""Seconds that a worker has to answer."""


class WorkerFailed(WakumailError):
    """A worker did not start, or workers of one place died again and again."""

    counter = "worker_failed"


class Worker:
    """A worker process, and the channel to it."""

    def __init__(self, process: asyncio.subprocess.Process, channel: Channel, part: int) -> None:
        self.process = process
        self.channel = channel
        self.part = part
        """Of the registry, and its bell."""
        self.ready_at: float | None = None
        """When it took connections, by time.monotonic(); None before."""
        self.settled = asyncio.Event()
        """Set once it takes connections, or has ended."""
        self.ended = asyncio.Event()
        self.leaving = False
        self._told = False
        self.missed: list[tuple[str, list[Any]]] = []
        """Orders that were given before it took connections, for it to obey then."""
        self.report: Report | None = None
        """What it reported last."""
        self.silent_since: float | None = None
        """When it was first seen not to answer; None while it does."""

    @property
    def serving(self) -> bool:
        """Whether it takes connections, and will."""
        return self.ready_at is not None and not self.leaving and not self.ended.is_set()

    def leave(self) -> None:
        """Tell it to stop, once: a second signal would kill one that ends. It has time for that."""
        self.leaving = True
        if self._told:
            return
        self._told = True
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)

    async def end(self) -> int:
        """Wait for its end, for as long as STOP_TIMEOUT; its exit code."""
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await self.ended.wait()
        except TimeoutError:
            log.error("process %d does not stop, and is killed", self.process.pid)
            self.process.kill()
            await self.ended.wait()
        assert self.process.returncode is not None
        return self.process.returncode

    async def ask(self, method: str, *params: Any) -> Any:
        """What it answers to a call; None when it does not, which is remembered."""
        try:
            async with asyncio.timeout(ASK_TIMEOUT):
                answer = await self.channel.call(method, *params)
        except (TimeoutError, ChannelClosed):
            self.silent_since = self.silent_since or time.monotonic()
            return None
        except CallRefused as refused:
            log.error("process %d: %s", self.process.pid, refused)
            return None
        self.silent_since = None
        return answer


Start = Callable[["Place", int], Awaitable[Worker]]
"""Starts a process for a place, with a part of the registry."""


class Place:
    """Keeps one worker running, the next when one is gone."""

    def __init__(self, number: int, listener: socket.socket, start: Start) -> None:
        self.number = number
        self.listener = listener
        """Stays open from one worker to the next, with the connections that wait in it."""
        self.worker: Worker | None = None
        self._start = start
        self._turn = asyncio.Lock()
        self._parts = (2 * number, 2 * number + 1)

    @property
    def serving(self) -> Worker | None:
        """The worker, while there is one that takes connections."""
        return self.worker if self.worker is not None and self.worker.serving else None

    async def begin(self) -> None:
        """Start the first worker; WorkerFailed when it does not come to take connections."""
        self.worker = await self._start(self, self._parts[0])
        await self._settle(self.worker)

    async def keep(self) -> None:
        """Replace each worker that dies; WorkerFailed when that does not help."""
        deaths = 0
        while True:
            worker = self.worker
            assert worker is not None
            await worker.ended.wait()
            async with self._turn:
                if worker is not self.worker:
                    continue  # It left, and its successor is there.
                log.error("worker %d died: %s", self.number, describe(worker.process.returncode))
                since = worker.ready_at
                lasted = since is not None and time.monotonic() - since >= STABLE
                deaths = 1 if lasted else deaths + 1
                if deaths == MAX_DEATHS:
                    raise WorkerFailed(f"worker {self.number} died {deaths} times in a row")
                if deaths > 1:
                    await asyncio.sleep(min(FIRST_DELAY * 2 ** (deaths - 2), LAST_DELAY))
                self.worker = await self._start(self, self._other_part())

    async def renew(self) -> None:
        """Replace the worker by one that takes connections before this one leaves."""
        async with self._turn:
            old = self.worker
            new = await self._start(self, self._other_part())
            try:
                await self._settle(new)
            except BaseException:
                new.leave()
                raise
            self.worker = new
            if old is not None:
                old.leave()
                await old.end()

    def _other_part(self) -> int:
        """A part that no worker of this place has."""
        first, second = self._parts
        return second if self.worker is not None and self.worker.part == first else first

    async def _settle(self, worker: Worker) -> None:
        await worker.settled.wait()
        if worker.ready_at is None:
            ending = describe(worker.process.returncode)
            raise WorkerFailed(f"worker {self.number} did not start: {ending}")


def describe(code: int | None) -> str:
    """How a process ended, for a person."""
    if code is None:
        return "it did not end"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
