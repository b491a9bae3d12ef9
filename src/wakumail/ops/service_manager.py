"""The service manager that started the server: systemd, by the protocol of sd_notify(3)."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping

from wakumail.base.text import counted
from wakumail.mail.server import Server

log = logging.getLogger(__name__)

STATUS_INTERVAL = 10.0
"""Seconds between two states told, if the watchdog does not want them more often."""


class ServiceManager:
    """Tells the service manager the state of the server. Without one it does nothing."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        """Take the variables of the protocol out of `environment`: they are not for our children.

        NOTIFY_SOCKET is the socket, WATCHDOG_USEC the microseconds within which the watchdog wants
        a sign of life, WATCHDOG_PID the process that has to give it.
        """
        self._address = environment.pop("NOTIFY_SOCKET", "")
        watchdog = environment.pop("WATCHDOG_USEC", "")
        watched = environment.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        self._watchdog = int(watchdog) / 1e6 if watched and watchdog.isdecimal() else 0.0
        self._failed = False

    def ready(self) -> None:
        """The server takes connections, or has reloaded."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """The server loads its settings again; `ready` ends it."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The server takes nothing more and finishes its commit."""
        self._tell("STOPPING=1\nSTATUS=finishing the last commit")

    async def watch(self, look: Callable[[], Awaitable[tuple[bool, str]]]) -> None:
        """Tell the state again and again, until it is cancelled.

        `look` returns True if all parts go on, and the state in words. Only then the watchdog gets
        its sign of life. It is called on the loop, so a loop that is held gives none either.
        """
        if not self._address:
            await asyncio.get_running_loop().create_future()
        interval = min(STATUS_INTERVAL, self._watchdog / 3 or STATUS_INTERVAL)
        while True:
            goes_on, state = await look()
            alive = "WATCHDOG=1\n" if goes_on and self._watchdog else ""
            self._tell(f"{alive}STATUS={state}")
            await asyncio.sleep(interval)

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):  # an abstract socket
            address = f"\0{address[1:]}"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(state.encode(), address)
        except OSError as error:
            if not self._failed:
                log.warning("the service manager at %s is not told: %s", self._address, error)
            self._failed = True
        else:
            self._failed = False


async def server_state(server: Server) -> tuple[bool, str]:
    """True if the writer of the archive goes on, and the state in words."""
    peers = counted(len(server.node.peers), "peer")
    if server.store is None:
        return True, f"{peers}, no archive"
    archive = server.store.degraded or server.store.pages.damaged or "archive in order"
    return server.store.writer.goes_on, f"{peers}, {archive}"
