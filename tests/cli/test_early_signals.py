"""Signals that come while a command is still importing its modules."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE
from tests.support.processes import take_signals

SIGNALLED = """
import os, sys

class Signaller:
    def find_spec(self, name, path=None, target=None):
        if name == where:
            os.kill(os.getpid(), number)

where, number = sys.argv[1], int(sys.argv[2])
del sys.argv[1:3]
sys.meta_path.insert(0, Signaller())
from wakumail.__main__ import main
sys.exit(main())
"""
"""A command that sends itself a signal when it first looks for a module."""

MODULES = (
    "wakumail.cli.command_line",
    "wakumail.errors",
    "wakumail.ops.logs",
    "wakumail.cli.serve",
    "wakumail.archive.store",
    "uvloop",
)
"""Those of a server, from the first to one of the last."""


def command(where: str, number: signal.Signals, *words: str) -> list[str]:
    return [sys.executable, "-c", SIGNALLED, where, str(int(number)), *words]


def run(words: Sequence[str]) -> "subprocess.CompletedProcess[bytes]":
    """Run a command to its end; it takes signals, even if the tests run in a shell's background."""
    return subprocess.run(
        words, capture_output=True, timeout=PATIENCE, check=False, preexec_fn=take_signals
    )


def serving(datadir: Path) -> tuple[str, ...]:
    return ("serve", "--datadir", str(datadir), "--host", "127.0.0.1", "--port", "0")


@pytest.mark.parametrize("where", MODULES)
def test_sigint_ends_a_server_without_a_word(tmp_path: Path, where: str) -> None:
    done = run(command(where, signal.SIGINT, *serving(tmp_path)))
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_each_of_them_ends_another_command(tmp_path: Path, number: signal.Signals) -> None:
    words = command("wakumail.cli.key", number, "key", "generate", str(tmp_path / "nodekey"))
    done = run(words)
    assert (done.returncode, done.stdout, done.stderr) == (-number, b"", b"")


def test_sigint_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """As that of a shell's background command is."""
    words = command("wakumail.cli.key", signal.SIGINT, "key", "--help")
    ignoring = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *words]
    done = run(ignoring)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("where", [MODULES[0], MODULES[-1]])
def test_sighup_is_heard_when_the_server_runs(tmp_path: Path, where: str) -> None:
    words = command(where, signal.SIGHUP, *serving(tmp_path))
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=take_signals
    ) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        assert server.stdout.readline().startswith(b"enode://")
        told = iter(server.stderr.readline, b"")
        assert any(b"reload" in line or b"read again" in line for line in told)
        server.send_signal(signal.SIGINT)
        assert server.wait(PATIENCE) == 0
