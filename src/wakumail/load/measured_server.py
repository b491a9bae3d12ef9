"""The server under load: one of our own for each run, or one that runs already."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from shutil import copytree
from typing import Protocol

from wakumail.devp2p.enode import Enode
from wakumail.load.filled_archives import FilledArchives
from wakumail.load.process_usage import ProcessUsage
from wakumail.load.server_process import RunningServer, ServerProcess
from wakumail.load.workload.archived_traffic import ArchivedTraffic


class MeasuredServer(Protocol):
    """A mailserver under load."""

    name: str
    takes_any_archive: bool
    """True if it can be started with any archive."""

    def serving(
        self,
        archive: ArchivedTraffic | None = None,
        *,
        writing: bool = False,
        flags: Sequence[str] = (),
    ) -> AbstractContextManager[RunningServer]:
        """The server, while the context lasts, with an archive of this traffic or an empty one.

        writing: the clients write into that archive. flags: what the case needs of `serve`.
        """

    def filled(self, archive: ArchivedTraffic) -> Path | None:
        """The data directory with this traffic, for reading; None if the server has its own."""


class ForeignServer:
    """A server that runs already. Its operator has imported a dump of the traffic."""

    takes_any_archive = False

    def __init__(self, enode: Enode, pid: int | None) -> None:
        self.name = f"{enode.host}:{enode.port}"
        self._served = RunningServer(enode, None if pid is None else ProcessUsage(pid))

    @contextmanager
    def serving(
        self,
        archive: ArchivedTraffic | None = None,
        *,
        writing: bool = False,
        flags: Sequence[str] = (),
    ) -> Iterator[RunningServer]:
        """The same server each time, whatever the arguments."""
        if self._served.usage is not None:
            self._served.usage.reset_peak()
        yield self._served

    def filled(self, archive: ArchivedTraffic) -> None:
        """None: its operator has the archive."""


class OwnServer:
    """`wakumail serve`, started anew for each run with `flags` beside our own."""

    takes_any_archive = True

    def __init__(self, archives: FilledArchives, flags: Sequence[str] = ()) -> None:
        self.name = " ".join(("wakumail", *flags))
        self._archives = archives
        self._flags = flags

    @contextmanager
    def serving(
        self,
        archive: ArchivedTraffic | None = None,
        *,
        writing: bool = False,
        flags: Sequence[str] = (),
    ) -> Iterator[RunningServer]:
        """A new server. Its data directory is removed afterwards, unless it is a filled archive."""
        with tempfile.TemporaryDirectory(dir=self._archives.directory) as name:
            path = Path(name) / "data"
            if archive is not None:
                filled = self._archives.filled(archive)
                if writing:
                    copytree(filled, path)
                else:
                    path = filled
            with ServerProcess(path, (*self._flags, *flags)) as server:
                yield server.running

    def filled(self, archive: ArchivedTraffic) -> Path:
        """The data directory that all runs share."""
        return self._archives.filled(archive)
