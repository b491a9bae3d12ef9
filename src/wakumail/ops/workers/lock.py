"""Locks between processes; the system lets go of one when its holder dies."""

import fcntl
import os
import struct
from types import TracebackType

FLOCK = struct.Struct("hhqqi")
"""The system's `struct flock`: type, whence, start, length, and a process, which is 0 here."""


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
