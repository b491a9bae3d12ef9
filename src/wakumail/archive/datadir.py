"""The data directory of a node: its files, and the locks that show who uses it.

nodekey     64 hex digits, mode 0600
archive/    the archive's data.mdb and lock.mdb
gaps.json   the times of which the archive lacks envelopes (see gaps.py)
lock        held by the server; a second one is refused
static-nodes.json, trusted-nodes.json    JSON lists of enode URLs; optional
enr         our node record, as it was last signed
discovered-nodes.json    the nodes that discovery knew when the server stopped
dns-lists.json    the sequence numbers of lists in the DNS that were seen
relay/      envelopes that workers without an archive pass to each other; only while they run
wakumail.ipc    the socket of the RPC API
compacting.*    the copy that a compaction is making
writers     locked shared by all that write to the archive, exclusively by a compaction
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wakumail.errors import WakumailError

SCRATCH_PREFIX = "compacting."
"""Of the folder in which a compaction makes its copy."""

UNFINISHED_PREFIX = "unfinished."
"""Of the file that a copy of an archive is until it is whole. Its maker holds it with flock (see
datafile.pxd)."""


class DatadirInUse(WakumailError):
    """Another process holds the data directory."""

    counter = "datadir_in_use"


class Datadir:
    """A data directory. The server, an import and a backup create it, mode 0700."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.archive = path / "archive"
        self.relay = path / "relay"
        self.gaps = path / "gaps.json"
        self.nodekey = path / "nodekey"
        self.static_nodes = path / "static-nodes.json"
        self.trusted_nodes = path / "trusted-nodes.json"
        self.enr = path / "enr"
        self.discovered_nodes = path / "discovered-nodes.json"
        self.dns_lists = path / "dns-lists.json"
        self.ipc = path / "wakumail.ipc"

    def make(self) -> None:
        """Create the directory unless it exists."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Hold the directory as its only server."""
        with self._lock("lock", fcntl.LOCK_EX), self.writing():
            self._sweep()
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the archive as one of several writers."""
        with self._lock("writers", fcntl.LOCK_SH):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the archive as its only writer."""
        with self._lock("writers", fcntl.LOCK_EX):
            self._sweep()
            yield

    def _sweep(self) -> None:
        """Remove what a compaction that was killed has left; who compacts holds the lock alone."""
        for left in self.path.glob(f"{SCRATCH_PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)

    @contextmanager
    def _lock(self, name: str, kind: int) -> Iterator[None]:
        """Hold a lock file; DatadirInUse if another process does. The system frees it if we die."""
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


def sweep_unfinished(directory: Path) -> None:
    """Remove copies that a killed process left in a directory; one that is being made stays."""
    for left in directory.glob(f"{UNFINISHED_PREFIX}*"):
        with contextlib.suppress(OSError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()
