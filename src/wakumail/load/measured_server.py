"""The server that is measured: one of our own for each run, or one that runs already."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from shutil import copytree
from typing import Protocol

from wakumail.devp2p.enode import Enode
from wakumail.load.filled_archives import Archives
from wakumail.load.process_usage import Account
from wakumail.load.server_process import Served, Server
from wakumail.load.workload.archived_traffic import Traffic


class Target(Protocol):
    """Whom the bench measures."""

    name: str
    has_archives: bool
    """Whether it can be had over any archive."""

    def serving(
        self, archive: Traffic | None = None, *, writing: bool = False
    ) -> AbstractContextManager[Served]:
        """The server over an archive of this traffic, or a new one, as long as it is needed.

        writing: more will be written into that archive.
        """


class Foreign:
    """A server that runs already. Its archive is what it is: filled with a dump of the traffic."""

    has_archives = False

    def __init__(self, enode: Enode, pid: int | None) -> None:
        self.name = f"{enode.host}:{enode.port}"
        self._served = Served(enode, None if pid is None else Account(pid))

    @contextmanager
    def serving(self, archive: Traffic | None = None, *, writing: bool = False) -> Iterator[Served]:
        """The server."""
        if self._served.account is not None:
            self._served.account.reset_peak()
        yield self._served


class Own:
    """`wakumail serve`, started anew each time with `flags` beside our own."""

    has_archives = True

    def __init__(self, archives: Archives, flags: Sequence[str] = ()) -> None:
        self.name = " ".join(("wakumail", *flags))
        self._archives = archives
        self._flags = flags

    @contextmanager
    def serving(self, archive: Traffic | None = None, *, writing: bool = False) -> Iterator[Served]:
        """A server over a data directory that goes afterwards."""
        with tempfile.TemporaryDirectory(dir=self._archives.directory) as name:
            path = Path(name) / "data"
            if archive is not None:
                filled = self._archives.filled(archive)
                if writing:
                    copytree(filled, path)
                else:
                    path = filled
            with Server(path, self._flags) as server:
                yield server.served
