"""The encryption thread: encrypts long frames beside the event loop."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence

from wakumail.base.threads import CompiledThreads
from wakumail.devp2p.frame_writer import Encryption, FrameWriter

log = logging.getLogger(__name__)

Done = Callable[[bytes | None], None]

MAX_WRITERS = 4
"""Frame writers that one job encrypts, as many as frame_encryption.h has lanes. In one thread they
take hardly longer than one writer; more threads would divide them up."""


class EncryptionThread:
    """Encrypts the packets that wait in frame writers, several writers at once.

    A writer belongs to the thread from `encrypt` until its frames are done. Packets may be added
    meanwhile, but nobody may encrypt them or hand the writer over again.
    """

    def __init__(self) -> None:
        self._thread = CompiledThreads(1)
        self._waiting: deque[tuple[FrameWriter, Done]] = deque()
        self._busy = False

    def encrypt(self, writer: FrameWriter, done: Done) -> None:
        """Encrypt the packets that wait in `writer`; the loop then calls `done` with the frames.

        If memory runs out, `done` is called with None, and the writer cannot be used any more.
        """
        self._waiting.append((writer, done))
        if not self._busy:
            self._start()

    def close(self) -> None:
        """End the thread, and drop the writers that still wait."""
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
            log.exception("frames could not be encrypted")
            self._tell(calls, [None] * len(calls))
        else:
            future = self._thread.run(job)
            future.add_done_callback(lambda done: self._tell(calls, done.result()))

    def _tell(self, calls: Sequence[Done], encrypted: Sequence[bytes | None]) -> None:
        loop = asyncio.get_running_loop()
        for done, frames in zip(calls, encrypted, strict=True):
            loop.call_soon(done, frames)
        loop.call_soon(self._start)
