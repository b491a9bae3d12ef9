"""A bench that is ended early leaves no process and no archive behind: real processes."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE, until
from tests.support.processes import WAKUMAIL, take_signals
from tests.support.worker_server import alive, wait_for_end

STAGES = {
    "the archive is filled": lambda commands: any("archive import" in it for it in commands),
    "the server starts": lambda commands: any(" serve " in it for it in commands),
    "clients are there": lambda commands: sum("spawn_main" in it for it in commands) > 1,
}
"""Stages of a bench, by the command lines of its descendants."""


def descendants(pid: int) -> dict[int, str]:
    """The descendants of a process, with their command lines."""
    commands = {}
    with contextlib.suppress(OSError):  # it may end meanwhile
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (thread / "children").read_text().split()):
                words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
                commands[child] = b" ".join(words).decode()
                commands |= descendants(child)
    return commands


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a short name: the path of a Unix socket has 107 bytes at most."""
    return tmp_path_factory.mktemp("b")


@contextlib.contextmanager
def benching(directory: Path, archive: int) -> Iterator[subprocess.Popen[bytes]]:
    """A bench that would run for minutes. archive: the number of envelopes that it fills in."""
    flags = (
        "--archive",
        str(archive),
        "--runs",
        "100",
        "--serve=--workers 2",
        "--dir",
        str(directory),
    )
    with subprocess.Popen(
        [*WAKUMAIL, "bench", "mixed", *flags],
        stderr=subprocess.DEVNULL,
        preexec_fn=take_signals,
    ) as bench:
        try:
            yield bench
        finally:
            bench.kill()


def await_stage(pid: int, reached: Callable[[list[str]], bool]) -> list[int]:
    """Wait for a stage of the bench. Returns its descendants."""

    def found() -> list[int]:
        assert alive(pid)
        below = descendants(pid)
        return list(below) if reached(list(below.values())) else []

    return until(found)


@pytest.mark.parametrize(
    ("number", "stage"),
    [
        *((signal.SIGTERM, stage) for stage in STAGES),
        (signal.SIGHUP, "clients are there"),
        (signal.SIGINT, "clients are there"),
    ],
)
def test_a_bench_that_is_ended_leaves_nothing(
    number: signal.Signals, stage: str, directory: Path
) -> None:
    with benching(directory, 20_000 if "filled" in stage else 1000) as bench:
        await_stage(bench.pid, STAGES[stage])
        below = descendants(bench.pid)
        bench.send_signal(number)
        assert bench.wait(PATIENCE) == 1
        wait_for_end(*below)
    assert not list(directory.iterdir())


def test_an_ended_bench_leaves_no_half_of_a_dump(directory: Path) -> None:
    dump = directory / "dump"
    command = [*WAKUMAIL, "bench", "--write-dump", str(dump), "--archive", "10000000"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, preexec_fn=take_signals) as bench:
        try:
            until(lambda: dump.exists() and dump.stat().st_size > 0)
            bench.terminate()
            assert bench.wait(PATIENCE) == 1
        finally:
            bench.kill()
    assert not list(directory.iterdir())


def test_a_bench_that_is_killed_leaves_no_process(directory: Path) -> None:
    with benching(directory, 1000) as bench:
        below = await_stage(bench.pid, STAGES["clients are there"])
        bench.kill()
        wait_for_end(*below)


FORK_UNDER_SIGNALS = """
import os, signal, sys
from wakumail.load.parent_death import start

signal.signal(signal.SIGTERM, lambda *_: sys.exit("interrupted"))
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGTERM))
start([sys.executable, "-c", "import sys; sys.stdin.read()"])
"""


def test_a_signal_that_comes_within_a_fork_is_obeyed() -> None:
    """Python drops what the handler raises within the hooks of a fork, and a bench went on."""
    done = subprocess.run(
        [sys.executable, "-c", FORK_UNDER_SIGNALS], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, b"interrupted\n")
