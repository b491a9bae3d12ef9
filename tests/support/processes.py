"""Real wakumail processes for tests: started, awaited by a line on stdout, always ended."""

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.patience import PATIENCE

WAKUMAIL = (sys.executable, "-m", "wakumail")


def take_signals() -> None:
    """For `preexec_fn`: a shell lets the jobs in its background, and nohup its own, ignore some."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def takes_calls(datadir: Path) -> bool:
    """True if a server takes calls of its API, on the socket in its data directory."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(datadir / "wakumail.ipc")) == 0


def run(*arguments: object, stdin: bytes = b"", check: int = 0) -> bytes:
    """Run one command to its end; returns its stdout."""
    done = subprocess.run(
        [*WAKUMAIL, *map(str, arguments)], input=stdin, capture_output=True, timeout=PATIENCE
    )
    assert done.returncode == check, done.stderr.decode()
    return done.stdout


def run_json(*arguments: object, stdin: bytes = b"", check: int = 0) -> dict[str, Any]:
    """Run one command with --json; returns its object."""
    result = json.loads(run(*arguments, "--json", stdin=stdin, check=check))
    assert isinstance(result, dict)
    return result


def health(port: int) -> dict[str, Any]:
    """The content of /health, with 200 or with 503."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=PATIENCE) as page:
            return dict(json.load(page))
    except urllib.error.HTTPError as error:
        return dict(json.load(error))


def failing(port: int) -> list[dict[str, Any]]:
    """The failing checks of /health."""
    return list(health(port)["failing"])


class Server:
    """`wakumail serve` in a process, on a port chosen by the system."""

    def __init__(
        self,
        datadir: Path,
        *flags: object,
        wrapper: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.datadir = datadir
        self._environment = environment
        self.log = datadir.parent / f"{datadir.name}.log"
        self._command = [
            *wrapper,
            *WAKUMAIL,
            *("serve", "--datadir", str(datadir), "--host", "127.0.0.1", "--port", "0"),
            *map(str, flags),
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start, and wait until it accepts connections."""
        self.launch()
        self.await_enode()

    def launch(self) -> None:
        """Start, without waiting."""
        with self.log.open("ab") as stderr:
            self.process = subprocess.Popen(
                self._command,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=self._environment,
            )

    def await_enode(self) -> None:
        """Wait until it accepts connections; if it never does, it is ended."""
        assert self.process.stdout is not None
        try:
            self.enode = self.process.stdout.readline().strip()
            if not self.enode.startswith("enode://"):
                raise AssertionError(f"the server did not start: {self.log.read_text()}")
        except BaseException:
            self.kill()
            raise

    def stop(self) -> int:
        """Send SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def kill(self) -> None:
        """Send SIGKILL, as a crash would."""
        self.process.kill()
        self.end()

    def end(self) -> int:
        """Wait for its end; returns the exit code."""
        code = self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code
