"""Whom the bench measures: a server of its own for each run, or one that runs already."""

import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from types import TracebackType
from typing import Protocol, Self

from wakumail.archive.datadir import Datadir
from wakumail.devp2p.enode import Enode
from wakumail.load.accounting import Account
from wakumail.load.clients.channel import LoadFailed
from wakumail.load.workload.traffic import Traffic

WAKUMAIL = (sys.executable, "-m", "wakumail")
FLAGS = ("--host", "127.0.0.1", "--port", "0", "--verbosity", "error")
OPEN = ("--retention", "0", "--min-pow", "0", "--maxpeers", "20000")
"""Keep envelopes of any age, let clients spend their time on sending rather than on mining, and
have room for more of them than one bench has."""

END_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs."""

    enode: Enode
    account: Account | None
    """None where it is not known which process it is."""
    started: float = 0.0
    """Seconds from its start to the line that says where it listens."""
    datadir: Datadir | None = None


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


class Archives:
    """Data directories with traffic in their archives, each made once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._filled: dict[Traffic, Path] = {}

    def filled(self, traffic: Traffic) -> Path:
        """The one with this traffic."""
        if traffic not in self._filled:
            path = self.directory / f"archive-{len(self._filled)}"
            dump = path.with_suffix(".dump")
            write_dump(traffic, dump)
            import_dump(path, dump)
            dump.unlink()
            self._filled[traffic] = path
        return self._filled[traffic]


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


def write_dump(traffic: Traffic, path: Path) -> None:
    """The traffic as a dump."""
    with path.open("wb") as file:
        file.writelines(traffic.dump())


def import_dump(datadir: Path, dump: Path) -> None:
    """What `wakumail archive import` makes of a dump. LoadFailed when it fails."""
    command = (*WAKUMAIL, "archive", "import", "--datadir", str(datadir), str(dump))
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        raise LoadFailed(f"the archive could not be filled: {shlex.join(command)}")


class Server:
    """`wakumail serve` in a process of its own, over the data directory at `datadir`.

    LoadFailed when it does not start, and when it does not end well.
    """

    def __init__(self, datadir: Path, flags: Sequence[str] = ()) -> None:
        self._command = (*WAKUMAIL, "serve", "--datadir", str(datadir), *FLAGS, *OPEN, *flags)
        began = time.perf_counter()
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            self._end()
            raise LoadFailed(f"the server did not start: {shlex.join(self._command)}")
        started = time.perf_counter() - began
        account = Account(self._process.pid)
        self.served = Served(Enode.parse(line), account, started, Datadir(datadir))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._end()
        if kind is None and self._process.returncode:
            raise LoadFailed(f"the server ended with exit code {self._process.returncode}")

    def _end(self) -> None:
        try:
            self._process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
