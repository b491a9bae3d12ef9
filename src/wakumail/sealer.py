"""The sealer: what is too long for the event loop to encrypt is sealed in a thread beside it."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from wakumail.seal import FrameWriter, seal_together
from wakumail.threads import Threads

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
        self._waiting: deque[tuple[FrameWriter, Callable[[bytes], None]]] = deque()
        self._busy = False

    def seal(self, writer: FrameWriter, done: Callable[[bytes], None]) -> None:
        """Seal what waits in `writer`; the loop then calls `done` with the frames."""
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

    def _done(
        self, calls: Iterable[Callable[[bytes], None]], future: asyncio.Future[list[bytes]]
    ) -> None:
        loop = future.get_loop()
        try:
            for done, frames in zip(calls, future.result(), strict=True):
                loop.call_soon(done, frames)
        finally:
            loop.call_soon(self._start)
