"""A slot: one of the workers of a server, whichever process it is at the moment."""

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable

from wakumail.ops.workers.worker_process import WorkerFailed, WorkerProcess, describe_exit

log = logging.getLogger(__name__)

STABLE_UPTIME = 10.0
"""Seconds that a worker must run for its end to count as the first in a row."""

MIN_RESTART_DELAY = 0.1
"""Seconds before a worker is replaced that died for the second time in a row. They double with each
further death. After the first death it is replaced at once."""

MAX_RESTART_DELAY = 5.0
"""Seconds before a worker is replaced, at most."""

MAX_DEATHS = 8
"""Deaths in a row in one slot after which the server gives up."""

StartWorker = Callable[["WorkerSlot", int], Awaitable[WorkerProcess]]
"""Starts a process for a slot; the number is its part of the registry."""


class WorkerSlot:
    """Keeps one worker running, and replaces it when it is gone."""

    def __init__(self, number: int, listener: socket.socket, start: StartWorker) -> None:
        self.number = number
        self.listener = listener
        """Listens; it stays open between two workers and keeps the connections that wait in it."""
        self.worker: WorkerProcess | None = None
        self._start = start
        self._turn = asyncio.Lock()
        self._parts = (2 * number, 2 * number + 1)

    @property
    def serving(self) -> WorkerProcess | None:
        """The worker if it takes connections, otherwise None."""
        return self.worker if self.worker is not None and self.worker.serving else None

    async def begin(self) -> None:
        """Start the first worker; WorkerFailed if it ends before it takes connections."""
        self.worker = await self._start(self, self._parts[0])
        await self._settle(self.worker)

    async def keep(self) -> None:
        """Replace each worker that dies; WorkerFailed after MAX_DEATHS in a row."""
        deaths = 0
        while True:
            worker = self.worker
            assert worker is not None
            await worker.ended.wait()
            async with self._turn:
                if worker is not self.worker:
                    continue  # It was replaced by `renew`.
                log.error(
                    "worker %d died: %s", self.number, describe_exit(worker.process.returncode)
                )
                since = worker.ready_at
                lasted = since is not None and time.monotonic() - since >= STABLE_UPTIME
                deaths = 1 if lasted else deaths + 1
                if deaths == MAX_DEATHS:
                    raise WorkerFailed(f"worker {self.number} died {deaths} times in a row")
                if deaths > 1:
                    delay = MIN_RESTART_DELAY * 2 ** (deaths - 2)
                    await asyncio.sleep(min(delay, MAX_RESTART_DELAY))
                self.worker = await self._start(self, self._other_part())

    async def renew(self) -> None:
        """Replace the worker; the new one takes connections before the old one stops."""
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
        """The part of the registry that this slot's worker does not have."""
        first, second = self._parts
        return second if self.worker is not None and self.worker.part == first else first

    async def _settle(self, worker: WorkerProcess) -> None:
        await worker.settled.wait()
        if worker.ready_at is None:
            ending = describe_exit(worker.process.returncode)
            raise WorkerFailed(f"worker {self.number} did not start: {ending}")
