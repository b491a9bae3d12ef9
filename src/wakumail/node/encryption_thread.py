"""The thread: what is too long for the event loop to encrypt is sealed in a thread beside it."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence

from wakumail.base.threads import CompiledThreads
from wakumail.devp2p.frame_writer import Encryption, FrameWriter

log = logging.getLogger(__name__)

Done = Callable[[bytes | None], None]

MAX_WRITERS = 4
"""Connections whose frames are made at once, as many as frame_encryption.h has lanes: with
one thread they take hardly longer than those of one connection, where more threads would split
them up."""


class EncryptionThread:
    """Seals what waits in frame writers, those of several connections together.

    A writer belongs to the thread from `seal` until its frames are done: packets may be added
    meanwhile, but it may be neither sealed nor handed over again.
    """

    def __init__(self) -> None:
        self._thread = CompiledThreads(1)
        self._waiting: deque[tuple[FrameWriter, Done]] = deque()
        self._busy = False

    def encrypt(self, writer: FrameWriter, done: Done) -> None:
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
        batch = [self._waiting.popleft() for _ in range(min(MAX_WRITERS, len(self._waiting)))]
        self._busy = bool(batch)
        if not batch:
            return
        writers, calls = zip(*batch, strict=True)
        try:
            job = Encryption(writers)
        except Exception:
            log.exception("frames could not be sealed")
            self._tell(calls, [None] * len(calls))
        else:
            future = self._thread.run(job)
            future.add_done_callback(lambda done: self._tell(calls, done.result()))

    def _tell(self, calls: Sequence[Done], sealed: Sequence[bytes | None]) -> None:
        loop = asyncio.get_running_loop()
        for done, frames in zip(calls, sealed, strict=True):
            loop.call_soon(done, frames)
        loop.call_soon(self._start)
