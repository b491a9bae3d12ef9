"""Addresses that are taken."""

import socket
import subprocess
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
    ],
)
def test_the_settings_are_named(tmp_path: Path, flags: tuple[str, ...], named: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [*WAKUMAIL, "serve", "--datadir", str(tmp_path / "data"), "--host", "127.0.0.1"]
        done = subprocess.run(
            [*command, *flags, str(port)], capture_output=True, text=True, timeout=PATIENCE
        )
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert done.stderr.rstrip().endswith(f"(see {named})")
