"""A wakumail server that the bench starts and ends."""

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from wakumail.archive.datadir import Datadir
from wakumail.devp2p.enode import Enode
from wakumail.load.clients.role import LoadFailed
from wakumail.load.parent_death import kill, start
from wakumail.load.process_usage import ProcessUsage

WAKUMAIL_COMMAND = (sys.executable, "-m", "wakumail")
BASE_FLAGS = ("--host", "127.0.0.1", "--port", "0", "--verbosity", "error")
LENIENT_FLAGS = ("--retention", "0", "--min-pow", "0", "--maxpeers", "20000")
"""Keep envelopes of any age, take those without PoW, so that clients need not mine, and admit more
clients than one bench has."""
SERVER_END_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that runs."""

    enode: Enode
    usage: ProcessUsage | None
    """None if its process is not known."""
    started: float = 0.0
    """Seconds from its start to the line with its enode."""
    datadir: Datadir | None = None


class ServerProcess:
    """`wakumail serve` in a process of its own, over the data directory at `datadir`.

    LoadFailed if it does not start, or ends with an exit code other than 0. `descriptors` stay
    open in it.
    """

    def __init__(
        self, datadir: Path, flags: Sequence[str] = (), descriptors: Sequence[int] = ()
    ) -> None:
        self._command = (
            *WAKUMAIL_COMMAND,
            "serve",
            "--datadir",
            str(datadir),
            *BASE_FLAGS,
            *LENIENT_FLAGS,
            *flags,
        )
        began = time.perf_counter()
        self._process = start(
            self._command, stdout=subprocess.PIPE, text=True, pass_fds=descriptors
        )
        assert self._process.stdout is not None
        try:
            line = self._process.stdout.readline().strip()
        except BaseException:
            kill(self._process)
            raise
        if not line:
            self._end()
            raise LoadFailed(f"the server did not start: {shlex.join(self._command)}")
        started = time.perf_counter() - began
        usage = ProcessUsage(self._process.pid)
        self.running = RunningServer(Enode.parse(line), usage, started, Datadir(datadir))

    @property
    def ended(self) -> bool:
        """True if it has ended by itself."""
        return self._process.poll() is not None

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
        """Wait for its end. Kill it after SERVER_END_TIMEOUT, or if the bench is interrupted."""
        try:
            self._process.wait(SERVER_END_TIMEOUT)
        except subprocess.TimeoutExpired:
            kill(self._process)
        except BaseException:
            kill(self._process)
            raise
        if self._process.stdout is not None:
            self._process.stdout.close()
