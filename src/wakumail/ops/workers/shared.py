"""Shared by the processes of one server: wake-ups, locks, the memory of judgements."""

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

JUDGEMENT_SLOTS = 1 << 17
"""Envelopes that are remembered: the latest, about a second of full load."""


def make_wake_ups(count: int) -> list[int]:
    """A descriptor for each worker; it keeps a wake-up until somebody listens."""
    return [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(count)]


class WakeUps:
    """Wakes the other workers after a commit, and calls back when one of them wakes us.

    Each worker has one eventfd: it reads its own and writes to those of the others.
    """

    def __init__(self, descriptors: Sequence[int], own: int) -> None:
        self._own = descriptors[own]
        self._others = [other for other in descriptors if other != self._own]

    def listen(self, on_wake: Callable[[], None]) -> None:
        """Call `on_wake` on the loop, once for all wake-ups that have come together."""

        def woken() -> None:
            os.eventfd_read(self._own)
            on_wake()

        asyncio.get_running_loop().add_reader(self._own, woken)

    def close(self) -> None:
        """Listen no longer."""
        asyncio.get_running_loop().remove_reader(self._own)

    def wake_others(self) -> None:
        """Have each other worker called back."""
        for other in self._others:
            os.eventfd_write(other, 1)


class ProcessLock:
    """A lock on one byte of a file that all processes have open; one of them holds it at a time.

    The system releases it when its holder dies. Its owner is the open file description of
    `descriptor`, which no other process may have. The owner is not the process (lockf): the system
    takes two processes that wait for each other for a deadlock, though each waits with one thread
    for what another thread will let go of. Both kinds of locks shut out each other.
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


def make_judgements() -> int:
    """The descriptor of an empty memory of judgements (see judgements.pyx)."""
    descriptor = os.memfd_create("wakumail-judgements")
    os.truncate(descriptor, JUDGEMENT_SLOTS * SLOT_SIZE)
    return descriptor


def judgements_in(descriptor: int) -> Judgements:
    """The judgements in such a memory, as a worker reads and writes them."""
    return Judgements(mmap.mmap(descriptor, JUDGEMENT_SLOTS * SLOT_SIZE))
