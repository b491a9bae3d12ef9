"""The data directory of a node: where things lie in it, and who has it.

nodekey     64 hex digits, mode 0600
archive/    the archive's data.mdb and lock.mdb
lock        held by whoever needs the directory for himself: the server, a compaction
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wakumail.errors import WakumailError


class DatadirInUse(WakumailError):
    """Another process holds the data directory."""

    counter = "datadir_in_use"


class Datadir:
    """A data directory; made, mode 0700, when somebody locks it or asks for it with `make`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.archive = path / "archive"
        self.nodekey = path / "nodekey"

    def make(self) -> None:
        """Create the directory if need be."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory; DatadirInUse when another process does. The system lets go for us."""
        self.make()
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                text = f"{self.path} is in use by another wakumail process"
                raise DatadirInUse(text) from None
            yield
        finally:
            os.close(descriptor)
