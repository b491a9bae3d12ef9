"""`wakumail serve` in a process of its own, and the CPU that it takes."""

import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from wakumail.enode import Enode

WAKUMAIL = (sys.executable, "-m", "wakumail")
END_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """What clients in other processes have to know."""

    enode: Enode
    pid: int

    def cpu(self) -> float:
        """Seconds of CPU of all its threads: as in /proc/PID/stat, in nanoseconds, not in ticks."""
        return time.clock_gettime((~self.pid << 3) | 2)


class Server:
    """A mailserver over the data directory at `datadir`, which keeps envelopes of any age."""

    def __init__(self, datadir: Path) -> None:
        self.datadir = datadir
        command = (*WAKUMAIL, "serve", "--datadir", str(datadir), "--host", "127.0.0.1")
        began = time.perf_counter()
        self._process = subprocess.Popen(
            (*command, "--port", "0", "--retention", "0", "--verbosity", "error"),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        enode = Enode.parse(self._process.stdout.readline().strip())
        self.process = ServerProcess(enode, self._process.pid)
        self.started = time.perf_counter() - began
        """Seconds from the start of Python to the line that says where it listens."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(END_TIMEOUT)
        if self._process.stdout is not None:
            self._process.stdout.close()
