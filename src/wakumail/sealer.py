"""The sealer: what is too long for the event loop to encrypt is sealed in a thread beside it."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from wakumail.seal import FrameWriter, seal_together
from wakumail.threads import Threads

log = logging.getLogger(__name__)

Done = Callable[[bytes | None], None]

TOGETHER = 4
"""Connections whose frames are made at once, as many as seal.h has lanes for: with one thread
they take hardly longer than those of one connection, where more threads would split them up."""


class Sealer:
    """Seals what waits in frame writers, those of several connections together.

    A writer belongs to the thread from `seal` until its frames are done: packets may be added
    meanwhile, but it may be neither sealed nor handed over again.
    """

    def __init__(self) -> None:
        self._thread = Threads(1, "sealer")
        self._waiting: deque[tuple[FrameWriter, Done]] = deque()
        self._busy = False

    def seal(self, writer: FrameWriter, done: Done) -> None:
        """Seal what waits in `writer`; the loop then calls `done` with the frames.

        With None when that failed, for want of memory: nothing more can come of the writer then.
        """
        self._waiting.append((writer, done))
        if not self._busy:
            self._start()

    def close(self) -> None:
        """End the thread; what waits still is wanted by nobody."""
        self._waiting.clear()
        self._thread.close()

    def _start(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))]
        self._busy = bool(batch)
        if batch:
            writers, calls = zip(*batch, strict=True)
            future = self._thread.run(partial(seal_together, list(writers)))
            future.add_done_callback(partial(self._done, calls))

    def _done(self, calls: Sequence[Done], future: asyncio.Future[list[bytes]]) -> None:
        loop = future.get_loop()
        sealed: Sequence[bytes | None]
        if (error := future.exception()) is None:
            sealed = future.result()
        else:
            log.error("frames could not be sealed", exc_info=error)
            sealed = [None] * len(calls)
        for done, frames in zip(calls, sealed, strict=True):
            loop.call_soon(done, frames)
        loop.call_soon(self._start)
