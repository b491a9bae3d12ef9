"""Every command ends quietly if a standard stream is closed at the start, or has no reader."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.envelopes import dump, make
from tests.support.patience import PATIENCE, until
from tests.support.processes import WAKUMAIL, Server, takes_calls
from tests.vectors import DISCOVERY
from wakumail.cli.command_line import COMMANDS

ALL_CLOSED = "<&- >&- 2>&-"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
"""Unbuffered, stdout fails at its first line instead of the end."""

ONE_CLOSED = ("<&-", ">&-", "2>&-")
NOISE = ("Traceback", "Exception", "never retrieved", "Error:", "Fatal")


class Place(NamedTuple):
    """A running server, and the files that the examples use."""

    server: Server
    directory: Path

    def words(self, example: str) -> list[str]:
        """The words of an example, with its names filled in."""
        names = {
            "enode": self.server.enode,
            "served": self.server.datadir,
            "other": self.directory / "other",
            "key": self.directory / "key",
            "new": self.directory / os.urandom(8).hex(),
            "dump": self.directory / "dump",
            "link": DISCOVERY["url"],
        }
        return example.format(**names).split()


PRINTING: Mapping[str, tuple[str, ...]] = {
    "serve": ("serve --help",),
    "attach": ("attach --datadir {served} rpc_modules", "attach --datadir {served} --json no_such"),
    "config": ("config show",),
    "request": (
        "request {enode} --bloom full --from 1d",
        "request {enode} --bloom full --from 1d --all --out -",
    ),
    "post": ("post {enode} --payload text --chat news",),
    "canary": ("canary {enode}",),
    "sync": ("sync --help",),
    "browse": ("browse --help",),
    "cluster": ("cluster --help",),
    "archive": (
        "archive stat --datadir {other}",
        "archive export --datadir {other}",
        "archive import --datadir {other} {dump}",
        "archive backup --datadir {other} {new}",
    ),
    "key": ("key show {key}", "key new {new}", "key enr {key}"),
    "dns": ("dns sign --key {key} --domain example.org --link {link}",),
    "bench": ("bench --help",),
}
"""Calls of each command that print something on stdout."""

FAILING = (
    "nonsense",
    "serve --host",
    "attach --datadir {new} rpc_modules",
    "request enode://0 --bloom full",
    "archive stat --datadir {new}",
    "key show {new}",
)
EXAMPLES = ["--help", "--version", *(each for some in PRINTING.values() for each in some)]
CLOSED = [
    *((each, ALL_CLOSED) for each in EXAMPLES),
    *((some[0], one) for some in PRINTING.values() for one in ONE_CLOSED),
]
"""Each example with all streams closed, and the first of each command with one of them."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("streams")
    with Server(directory / "data", "--min-pow", "0") as server:
        place = Place(server, directory)
        envelopes = make(200, [b"topi"], created=int(time.time()) - 2)
        (directory / "dump").write_bytes(dump(envelopes))
        for example in ("key new {key}", "archive import --datadir {other} {dump}",
                        "archive import --datadir {served} {dump}"):  # fmt: skip
            command = [*WAKUMAIL, *place.words(example)]
            run(command, check=True, capture_output=True)
        yield place


def under(redirection: str) -> list[str]:
    """The command line that runs a command with a redirection of the shell."""
    return ["sh", "-c", f'exec "$@" {redirection}', "sh", *WAKUMAIL]


def run(command: list[str], **choices: Any) -> "subprocess.CompletedProcess[bytes]":
    """Run a command to its end, with nothing to read."""
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL, "env": ENVIRONMENT, "check": False}
    return subprocess.run(command, timeout=PATIENCE, **(given | choices))


def assert_quiet(stderr: bytes, about: str) -> None:
    told = stderr.decode()
    assert not any(noise in told for noise in NOISE), f"{about}: {told}"


def without_reader() -> int:
    """The writing end of a pipe whose reader has left."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def test_every_command_has_examples() -> None:
    assert PRINTING.keys() == COMMANDS.keys()


@pytest.mark.parametrize(("example", "redirection"), CLOSED)
def test_closed_streams(place: Place, example: str, redirection: str) -> None:
    command = [*under(redirection), *place.words(example)]
    done = run(command, stdin=subprocess.DEVNULL, capture_output=True)
    unwritten = ">&-" in redirection.replace("2>&-", "")
    assert done.returncode == int(unwritten or "no_such" in example), done.stderr
    assert_quiet(done.stderr, example)
    assert (b"Bad file descriptor" in done.stderr) == (redirection == ">&-")


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_reader_of_stdout_that_has_left(place: Place, example: str) -> None:
    writing = without_reader()
    command = [*WAKUMAIL, *place.words(example)]
    done = run(command, stdin=subprocess.DEVNULL, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert done.returncode == 1, done.stderr
    assert_quiet(done.stderr, example)
    assert b"roken pipe" not in done.stderr


@pytest.mark.parametrize("example", [*EXAMPLES, *FAILING])
def test_a_reader_of_stderr_that_has_left(place: Place, example: str) -> None:
    writing = without_reader()
    done = run(
        [*WAKUMAIL, *place.words(example)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=writing,
    )
    os.close(writing)
    assert done.returncode in ((1, 2) if example in FAILING else (int("no_such" in example),))


def test_a_full_disk_is_told(place: Place) -> None:
    command = [*under(">/dev/full"), *place.words("config show")]
    done = run(command, capture_output=True)
    assert done.returncode == 1
    assert_quiet(done.stderr, "a full disk")
    assert done.stderr.endswith(b": No space left on device\n")


def test_nothing_is_imported_from_a_closed_stdin(place: Place) -> None:
    command = [*under("<&-"), *place.words("archive import --datadir {other} -")]
    done = run(command, capture_output=True)
    assert done.returncode == 1
    assert b"Bad file descriptor" in done.stderr


def serve(datadir: Path, workers: str, start: list[str], **choices: Any) -> int:
    """The exit code of a server that is stopped once it answers calls."""
    words = ["serve", "--datadir", str(datadir), "--host", "127.0.0.1", "--port", "0"]
    words += ["--workers", workers]
    with subprocess.Popen([*start, *words], env=ENVIRONMENT, **choices) as process:
        try:
            until(lambda: takes_calls(datadir) or process.poll() is not None)
            command = [*WAKUMAIL, "attach", "--datadir", str(datadir), "rpc_modules"]
            assert not run(command, capture_output=True).returncode
            process.send_signal(signal.SIGTERM)
            return process.wait(PATIENCE)
        finally:
            process.kill()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_with_closed_streams_serves(tmp_path: Path, workers: str) -> None:
    assert serve(tmp_path / "data", workers, under(ALL_CLOSED)) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_without_readers_serves(tmp_path: Path, workers: str) -> None:
    writing = without_reader()
    try:
        code = serve(tmp_path / "data", workers, [*WAKUMAIL], stdout=writing, stderr=writing)
        assert code == 0
    finally:
        os.close(writing)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_python_may_be_told_not_to_buffer(unbuffered: str) -> None:
    """argparse hides the error of its own writing, which is the first one then."""
    writing = without_reader()
    environment = ENVIRONMENT | {"PYTHONUNBUFFERED": unbuffered}
    command = [*WAKUMAIL, "--help"]
    done = run(command, stdout=writing, stderr=subprocess.PIPE, env=environment)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")
