"""A worker as the supervisor sees it: a process, and the channel to it."""

import asyncio
import contextlib
import logging
import signal
import time
from typing import Any

from wakumail.errors import WakumailError
from wakumail.ops.monitoring.report import Report
from wakumail.ops.workers.channel import CallRefused, ChannelClosed, WorkerChannel

log = logging.getLogger(__name__)

STOP_TIMEOUT = 60.0
"""Seconds that a worker has to finish its commit and disconnect before it is killed."""

ASK_TIMEOUT = 2.0
"""Seconds that a worker has to answer a call."""


HANG_TIMEOUT = 30.0
"""Seconds of silence after which a worker is taken to hang."""


class WorkerFailed(WakumailError):
    """A worker did not start, or workers of one slot died again and again."""

    counter = "worker_failed"


class WorkerProcess:
    """A worker as the supervisor sees it: a process, and the channel to it."""

    def __init__(
        self, process: asyncio.subprocess.Process, channel: WorkerChannel, part: int
    ) -> None:
        self.process = process
        self.channel = channel
        self.part = part
        """Number of its part of the registry, and of its wake-up."""
        self.ready_at: float | None = None
        """Time when it began to take connections (time.monotonic); None before."""
        self.settled = asyncio.Event()
        """Set when it takes connections or has ended."""
        self.ended = asyncio.Event()
        self.leaving = False
        self._told = False
        self.missed: list[tuple[str, list[Any]]] = []
        """Orders given before it took connections; it gets them then."""
        self.report: Report | None = None
        """Its last report."""
        self.silent_since: float | None = None
        """Time when it was first seen not to answer; None while it answers."""

    @property
    def serving(self) -> bool:
        """True if it takes connections and was not told to stop."""
        return self.ready_at is not None and not self.leaving and not self.ended.is_set()

    @property
    def hangs(self) -> bool:
        """True if it has not answered for HANG_TIMEOUT."""
        silent = self.silent_since
        return silent is not None and time.monotonic() - silent > HANG_TIMEOUT

    def leave(self) -> None:
        """Tell it to stop, once: a second signal would kill a worker that is stopping."""
        self.leaving = True
        if self._told:
            return
        self._told = True
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)

    async def end(self) -> int:
        """Wait for its end, at most STOP_TIMEOUT, then kill it; returns its exit code."""
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
        """Its answer to a call; None if it does not answer, see `silent_since`."""
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


def describe_exit(code: int | None) -> str:
    """The end of a process in words."""
    if code is None:
        return "it did not end"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
