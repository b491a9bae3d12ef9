"""The server under load: one of our own for each run, or one that runs already."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from shutil import copytree
from typing import Protocol

from wakumail.devp2p.enode import Enode
from wakumail.load.clients.role import LoadFailed
from wakumail.load.filled_archives import FilledArchives
from wakumail.load.metered_server import MeteredServer
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

    def metered(self, archive: ArchivedTraffic) -> MeteredServer:
        """One that measures its steps, over a copy of this archive; the same one each time.

        LoadFailed for a server that runs already.
        """

    def metered_start(
        self, archive: ArchivedTraffic, prepare: Callable[[Path], None]
    ) -> AbstractContextManager[MeteredServer]:
        """Another one, newly started; `prepare` is given its data directory before."""

    def close(self) -> None:
        """End the server of `metered`."""


NO_METER = "a server that runs already does not measure its steps"


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

    def metered(self, archive: ArchivedTraffic) -> MeteredServer:
        """LoadFailed."""
        raise LoadFailed(NO_METER)

    def metered_start(
        self, archive: ArchivedTraffic, prepare: Callable[[Path], None]
    ) -> AbstractContextManager[MeteredServer]:
        """LoadFailed."""
        raise LoadFailed(NO_METER)

    def close(self) -> None:
        """Do nothing: it runs on."""


class OwnServer:
    """`wakumail serve`, started anew for each run with `flags` beside our own."""

    takes_any_archive = True

    def __init__(self, archives: FilledArchives, flags: Sequence[str] = ()) -> None:
        self.name = " ".join(("wakumail", *flags))
        self._archives = archives
        self._flags = flags
        self._metered: MeteredServer | None = None
        self._standing = ExitStack()
        """Ends the server of `metered`."""

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

    def metered(self, archive: ArchivedTraffic) -> MeteredServer:
        """The server that measures its steps. One that has ended is replaced."""
        if self._metered is None or self._metered.gone:
            self.close()
            starting = self.metered_start(archive, lambda path: None)
            self._metered = self._standing.enter_context(starting)
        return self._metered

    @contextmanager
    def metered_start(
        self, archive: ArchivedTraffic, prepare: Callable[[Path], None]
    ) -> Iterator[MeteredServer]:
        """A new one. Its data directory is removed afterwards."""
        with tempfile.TemporaryDirectory(dir=self._archives.directory) as name:
            path = Path(name) / "data"
            copytree(self._archives.filled(archive), path)
            prepare(path)
            with MeteredServer(path, self._flags) as server:
                yield server

    def close(self) -> None:
        """End the server of `metered`."""
        self._metered = None
        self._standing.close()
