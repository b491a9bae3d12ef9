"""The states that a service manager is told."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE, asynchronous
from tests.support.processes import Server
from wakumail.ops.service_manager import ServiceManager


class Told:
    """The socket of a service manager."""

    def __init__(self, path: Path | str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(PATIENCE)
        self._socket.bind(str(path))

    def close(self) -> None:
        self._socket.close()

    def next(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self._socket.recv(4096).decode().split("\n"))

    def until(self, name: str) -> list[dict[str, str]]:
        """The states up to the first that has `name`."""
        states = [self.next()]
        while name not in states[-1]:
            states.append(self.next())
        return states


@contextmanager
def told(path: Path | str) -> Iterator[Told]:
    with contextlib.closing(Told(path)) as manager:
        yield manager


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server(tmp_path: Path, workers: int) -> None:
    """Ready once it takes connections, alive while it runs, reloading on HUP, stopping."""
    path = tmp_path / "notify"
    environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "300000"}
    with (
        told(path) as manager,
        Server(tmp_path / "data", "--workers", workers, environment=environment) as server,
    ):
        assert manager.next() == {"READY": "1"}
        state = manager.next()
        assert state["WATCHDOG"] == "1"
        assert "archive in order" in state["STATUS"]
        assert state["STATUS"].count("0 peers") == workers
        server.process.send_signal(signal.SIGHUP)
        assert int(manager.until("RELOADING")[-1]["MONOTONIC_USEC"]) > 0
        manager.until("READY")
        assert server.stop() == 0
        assert all("READY" not in state for state in manager.until("STOPPING"))


@asynchronous
async def test_no_sign_of_life_while_a_part_hangs() -> None:
    with told("\0wakumail-test-" + str(os.getpid())) as manager:
        environment = {
            "NOTIFY_SOCKET": f"@wakumail-test-{os.getpid()}",
            "WATCHDOG_USEC": "3000",
            "WATCHDOG_PID": str(os.getpid()),
        }
        looks = iter([(True, "well"), (False, "the writer hangs"), (True, "well again")])

        async def look() -> tuple[bool, str]:
            if (found := next(looks, None)) is None:
                raise asyncio.CancelledError
            return found

        with contextlib.suppress(asyncio.CancelledError):
            await ServiceManager(environment).watch(look)
        assert environment == {}
        assert [manager.next() for _ in range(3)] == [
            {"WATCHDOG": "1", "STATUS": "well"},
            {"STATUS": "the writer hangs"},
            {"WATCHDOG": "1", "STATUS": "well again"},
        ]


@asynchronous
async def test_another_process_is_watched(tmp_path: Path) -> None:
    with told(tmp_path / "notify") as manager:
        service = ServiceManager(
            {
                "NOTIFY_SOCKET": str(tmp_path / "notify"),
                "WATCHDOG_USEC": "3000",
                "WATCHDOG_PID": "1",
            }
        )

        async def look() -> tuple[bool, str]:
            return True, "well"

        watch = asyncio.create_task(service.watch(look))
        state = await asyncio.get_running_loop().run_in_executor(None, manager.next)
        watch.cancel()
        assert state == {"STATUS": "well"}


def test_nobody_is_told(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    ServiceManager({}).ready()
    assert not caplog.records
    manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    manager.ready()
    manager.stopping()
    [record] = caplog.records
    assert "is not told" in record.message
