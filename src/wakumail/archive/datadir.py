"""The data directory of a node: where things lie in it, and who has it.

nodekey     64 hex digits, mode 0600
archive/    the archive's data.mdb and lock.mdb
lock        held by the one server
static-nodes.json, trusted-nodes.json    JSON lists of enode URLs, if they are there
relay/      what workers without an archive tell each other, only while they run
wakumail.ipc    the socket of the RPC API
writers     held together by all who write to the archive, alone by who compacts it
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
    """A data directory; made, mode 0700, by who fills it: the server, an import, a backup."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.archive = path / "archive"
        self.relay = path / "relay"
        self.nodekey = path / "nodekey"
        self.static_nodes = path / "static-nodes.json"
        self.trusted_nodes = path / "trusted-nodes.json"
        self.ipc = path / "wakumail.ipc"

    def make(self) -> None:
        """Create the directory if need be."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Hold the directory as the one server on it."""
        with self._lock("lock", fcntl.LOCK_EX), self.writing():
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the archive as one of several that may write to it."""
        with self._lock("writers", fcntl.LOCK_SH):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the archive as the only one that writes."""
        with self._lock("writers", fcntl.LOCK_EX):
            yield

    @contextmanager
    def _lock(self, name: str, kind: int) -> Iterator[None]:
        """Hold a lock file; DatadirInUse when that cannot be. The system lets go for us."""
        descriptor = os.open(self.path / name, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                text = f"{self.path} is in use by another wakumail process"
                raise DatadirInUse(text) from None
            yield
        finally:
            os.close(descriptor)
