"""The operator gets in, whatever callers and peers use up."""

import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE
from tests.support.processes import Server, run

FLAGS = ("--metrics", "--metrics.port", "0", "--http", "--http.port", "0")
IDLE = 200
"""Connections to each listener: more than it takes."""


def addresses(server: Server) -> dict[str, tuple[str, int]]:
    """The addresses of RPC and metrics, from the log."""
    told = server.log.read_text()
    found = re.findall(r"(RPC|metrics) on (?:http://)?([0-9.]+):(\d+)", told)
    return {name: (host, int(port)) for name, host, port in found}


def listeners(server: Server) -> list[tuple[str, int] | str]:
    """The addresses of RPC and metrics, and the Unix socket."""
    return [*addresses(server).values(), str(server.datadir / "wakumail.ipc")]


def assert_operable(server: Server) -> None:
    """`attach` and the pages answer."""
    assert "net" in json.loads(run("attach", "--datadir", server.datadir, "rpc_modules"))
    host, port = addresses(server)["metrics"]
    for page in ("live", "metrics"):
        with urllib.request.urlopen(f"http://{host}:{port}/{page}", timeout=PATIENCE) as answer:
            assert answer.status == 200


@contextmanager
def idle(address: tuple[str, int] | str, count: int) -> Iterator[None]:
    """Connections that send nothing."""
    with ExitStack() as opened:
        for _ in range(count):
            family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
            own = opened.enter_context(socket.socket(family))
            own.connect(address)
        yield


@pytest.mark.parametrize("workers", [1, 2])
def test_idle_callers(tmp_path: Path, workers: int) -> None:
    with Server(tmp_path / "data", "--workers", workers, *FLAGS) as server, ExitStack() as opened:
        for address in listeners(server):
            opened.enter_context(idle(address, IDLE))
        assert_operable(server)


@pytest.mark.parametrize("workers", [1, 2])
def test_peers_that_use_up_the_files(tmp_path: Path, workers: int) -> None:
    """Together with idle callers."""
    wrapper = ("sh", "-c", 'ulimit -n 128 && exec "$@"', "sh")
    flags = ("--workers", workers, *FLAGS)
    with Server(tmp_path / "data", *flags, wrapper=wrapper) as server, ExitStack() as opened:
        assert "128 files may be open (ulimit -n), but" in server.log.read_text()
        host, port = server.enode.partition("@")[2].split(":")
        opened.enter_context(idle((host, int(port)), 300))
        for address in listeners(server):
            opened.enter_context(idle(address, IDLE // 4))
        assert_operable(server)
