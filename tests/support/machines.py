"""Machines of their own on this one: network namespaces, on wires that a test cuts."""

import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

P = ParamSpec("P")
T = TypeVar("T")

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)

THREADS = 4
"""Of a machine: what waits in one does not stop the others."""


class Machine:
    """Threads in a network namespace of their own, and the processes that they start.

    The namespace ends with the last of them, and its wires with it.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.address = f"10.77.{number}.2"
        """Its own on its wire; the other end has `gateway`."""
        self.gateway = f"10.77.{number}.1"
        self._entering = threading.Lock()
        self._namespace: int | None = None
        self.threads = ThreadPoolExecutor(THREADS, initializer=self._enter)
        self.path = Path(self.do(lambda: f"/proc/{os.getpid()}/fd/{self._namespace}"))

    def begin(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> "Future[T]":
        """Work on this machine."""
        return self.threads.submit(work, *args, **named)

    def do(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """The result of work on this machine."""
        return self.begin(work, *args, **named).result()

    def ip(self, command: str) -> None:
        """Run ip(8) on this machine."""
        self.do(subprocess.run, ["ip", *command.split()], check=True)

    def close(self) -> None:
        """End its threads."""
        self.threads.shutdown()
        if self._namespace is not None:
            os.close(self._namespace)

    def _enter(self) -> None:
        """Make the namespace in the first thread, and enter it in all others."""
        with self._entering:
            if self._namespace is None:
                told = LIBC.unshare(CLONE_NEWNET)
                self._namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            else:
                told = LIBC.setns(self._namespace, CLONE_NEWNET)
        if told:
            raise OSError(ctypes.get_errno(), "no network namespace")


class Machines:
    """Some machines, each on a wire to one router."""

    def __init__(self, count: int, router: Machine, ending: ExitStack) -> None:
        self._router = router
        self.each: list[Machine] = []
        router.do(Path("/proc/sys/net/ipv4/ip_forward").write_text, "1")
        for number in range(1, count + 1):
            machine = Machine(number)
            ending.callback(machine.close)
            self.each.append(machine)
            router.ip(f"link add wire{number} type veth peer name wire netns {machine.path}")
            router.ip(f"addr add {machine.gateway}/24 dev wire{number}")
            router.ip(f"link set wire{number} up")
            machine.ip(f"addr add {machine.address}/24 dev wire")
            machine.ip("link set wire up")
            machine.ip("link set lo up")
            machine.ip(f"route add default via {machine.gateway}")

    def cut(self, machine: Machine) -> None:
        """Let nothing through to a machine, or from it."""
        self._router.ip(f"link set wire{machine.number} down")

    def mend(self, machine: Machine) -> None:
        """Undo that."""
        self._router.ip(f"link set wire{machine.number} up")


@contextmanager
def machines(count: int) -> Iterator[Machines]:
    """Machines while the context lasts; what was started on them has to be ended before.

    CI has ip(8), but may not be allowed to make namespaces.
    """
    if os.geteuid():
        pytest.skip("network namespaces need root")
    if shutil.which("ip") is None:
        assert "CI" not in os.environ, "iproute2 is required in CI"
        pytest.skip("needs ip(8)")
    with ExitStack() as ending:
        try:
            router = Machine(0)
        except BrokenExecutor:
            pytest.skip("network namespaces are not allowed here")
        ending.callback(router.close)
        yield Machines(count, router, ending)
