"""Addresses that are taken."""

import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE
from tests.support.processes import WAKUMAIL


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--port",), "--host and --port"),
        (("--workers", "2", "--port"), "--host and --port"),
        (("--port", "0", "--metrics", "--metrics.port"), "--metrics.addr and --metrics.port"),
        (("--port", "0", "--http", "--http.port"), "--http.addr and --http.port"),
        (("--port", "0", "--ws", "--ws.port"), "--ws.addr and --ws.port"),
        (("--port", "0", "--store", "--store.port"), "--store.addr and --store.port"),
        (
            ("--port", "0", "--discovery.v4", "--discovery.port"),
            "--host and --discovery.port",
        ),
    ],
)
def test_the_settings_are_named(tmp_path: Path, flags: tuple[str, ...], named: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        port = taken.getsockname()[1]
        datagrams.bind(("127.0.0.1", port))
        error = start(tmp_path, "--host", "127.0.0.1", *flags, str(port))
    assert "in use" in error
    assert error.endswith(f"(see {named})")


def test_the_setting_of_the_socket_is_named(tmp_path: Path) -> None:
    error = start(tmp_path, "--port", "0", "--ipcpath", str(tmp_path / "none" / "ipc"))
    assert error.endswith(f"{tmp_path}/none/ipc: No such file or directory (see --ipcpath)")


LATE = """
import runpy, threading
from wakumail.ops.log_writer import LogWriter
wanted, flush, write = threading.Event(), LogWriter.flush, LogWriter._write
LogWriter.flush = lambda self: wanted.set() or flush(self)
LogWriter._write = lambda self, data: wanted.wait() and write(self, data)
runpy.run_module("wakumail", run_name="__main__", alter_sys=True)
"""
"""Runs a command whose log is written once it is waited for, as on a machine without time."""


def test_the_reason_is_told_behind_the_log(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        flags = ("--host", "127.0.0.1", "--port", str(taken.getsockname()[1]))
        error = start(tmp_path, *flags, command=(sys.executable, "-c", LATE))
    assert error.endswith("(see --host and --port)")


def start(tmp_path: Path, *flags: str, command: Sequence[str] = WAKUMAIL) -> str:
    """The last line of a server that cannot start."""
    done = subprocess.run(
        [*command, "serve", "--datadir", str(tmp_path / "data"), *flags],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]
