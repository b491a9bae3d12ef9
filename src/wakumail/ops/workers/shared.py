"""Small things that the processes of one server share: bells, locks, the memory of judgements."""

import asyncio
import fcntl
import mmap
import os
import struct
from collections.abc import Callable, Sequence
from types import TracebackType

from wakumail.waku.judgements import SLOT_SIZE, Judgements

FLOCK = struct.Struct("hhqqi")
"""The system's `struct flock`: type, whence, start, length, and a process, which is 0 here."""

SLOTS = 1 << 17
"""Envelopes that are remembered, the latest: of about a second at full load."""


def make_bells(count: int) -> list[int]:
    """Descriptors of bells; what is rung while nobody listens is heard by the next who does."""
    return [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(count)]


class Bells:
    """The bells as one worker has them: it hears its own, and rings all others."""

    def __init__(self, descriptors: Sequence[int], own: int) -> None:
        self._own = descriptors[own]
        self._others = [bell for bell in descriptors if bell != self._own]

    def listen(self, on_ring: Callable[[], None]) -> None:
        """Call `on_ring` on the loop for one ring, or for many at once."""

        def heard() -> None:
            os.eventfd_read(self._own)
            on_ring()

        asyncio.get_running_loop().add_reader(self._own, heard)

    def close(self) -> None:
        """Hear nothing more."""
        asyncio.get_running_loop().remove_reader(self._own)

    def ring(self) -> None:
        """Wake the others."""
        for bell in self._others:
            os.eventfd_write(bell, 1)


class Lock:
    """One byte of a file that all of them have open; held by one of them at a time.

    Its owner is the open file description of `descriptor`, which no other process may have. It is
    not the process (lockf): then two that wait for each other are taken for a deadlock, though each
    waits with one thread for what another thread will let go of. Both kinds shut out each other.
    """

    def __init__(self, descriptor: int, byte: int) -> None:
        self._descriptor = descriptor
        self._byte = byte

    def __enter__(self) -> None:
        self._set(fcntl.F_WRLCK)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._set(fcntl.F_UNLCK)

    def _set(self, kind: int) -> None:
        wanted = FLOCK.pack(kind, os.SEEK_SET, self._byte, 1, 0)
        fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLKW, wanted)


def make_memory() -> int:
    """The descriptor of an empty memory of judgements (see judgements.pyx)."""
    descriptor = os.memfd_create("wakumail-judgements")
    os.truncate(descriptor, SLOTS * SLOT_SIZE)
    return descriptor


def judgements_in(descriptor: int) -> Judgements:
    """What the workers note there."""
    return Judgements(mmap.mmap(descriptor, SLOTS * SLOT_SIZE))
