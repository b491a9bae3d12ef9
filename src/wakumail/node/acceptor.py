"""A listening socket that accepts connections no faster than the node can handle them.

The server of an event loop accepts all at once. Here callers that have to wait do so in the
system's backlog: they cost no memory, no timeout runs for them, and they crowd nobody out.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress

log = logging.getLogger(__name__)

BACKLOG = 1024
"""Connections that may wait to be accepted."""

MAX_ACCEPTS = 8
"""Connections that are accepted in one round of the loop. They take less than a millisecond of it,
and callers do not have to wait one long round each."""

RETRY_INTERVAL = 1.0
"""Seconds between two attempts while the system has no more sockets."""


class Acceptor:
    """Accepts up to MAX_ACCEPTS connections in each round of the loop, while more are wanted."""

    def __init__(self, own: socket.socket, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        """`own` listens already and is closed here. `protocol` is called for each connection."""
        own.setblocking(False)
        self._socket = own
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._taking: set[asyncio.Task[None]] = set()
        self._wanted = True
        self._exhausted = False
        """True if the system had no more sockets at the last attempt."""
        self._watching = False
        self._watch()

    def want(self, more: bool) -> None:
        """Accept more connections from now on, or none."""
        self._wanted = more
        self._watch()

    def close(self) -> None:
        """Close the listening socket."""
        self.want(False)
        self._socket.close()

    async def wait_closed(self) -> None:
        """Wait until each accepted connection has its protocol."""
        await asyncio.gather(*self._taking)

    def _accept_some(self) -> None:
        for _ in range(MAX_ACCEPTS):
            if self._watching:
                self._accept()

    def _accept(self) -> None:
        try:
            taken, _ = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            log.error("no connection can be accepted: %s", error)
            self._exhausted = True
            self._watch()
            self._loop.call_later(RETRY_INTERVAL, self._retry)
            return
        taken.setblocking(False)
        task = self._loop.create_task(self._connect(taken))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)

    def _retry(self) -> None:
        self._exhausted = False
        self._watch()

    def _watch(self) -> None:
        """Watch the socket for callers, or leave them in the backlog."""
        watching = self._wanted and not self._exhausted and self._socket.fileno() >= 0
        if watching == self._watching:
            return
        self._watching = watching
        if watching:
            self._loop.add_reader(self._socket, self._accept_some)
        else:
            self._loop.remove_reader(self._socket)

    async def _connect(self, taken: socket.socket) -> None:
        with suppress(OSError):  # the caller has left again
            await self._loop.connect_accepted_socket(self._protocol, taken)


async def open_listeners(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on each address of `host`. Port 0 lets the system choose.

    The host `::` takes IPv4 too, if the system can.
    """
    if host == "::" and socket.has_dualstack_ipv6():
        family = socket.AF_INET6
        own = socket.create_server(
            (host, port), family=family, backlog=BACKLOG, dualstack_ipv6=True
        )
        return [own]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    with ExitStack() as opened:
        sockets = [
            opened.enter_context(socket.create_server(address, family=family, backlog=BACKLOG))
            for family, address in dict.fromkeys((each[0], each[4]) for each in found)
        ]
        opened.pop_all()
    return sockets


def open_shared_listeners(host: str, port: int, workers: int) -> list[socket.socket]:
    """Sockets that listen on one port and share its connections (SO_REUSEPORT).

    OSError when another process has the port, even if it would share it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    dual = host == "::" and socket.has_dualstack_ipv6()
    if port:
        socket.create_server((host, port), family=family, dualstack_ipv6=dual).close()
    sockets: list[socket.socket] = []
    with ExitStack() as opened:
        for _ in range(workers):
            own = socket.create_server(
                (host, port), family=family, backlog=BACKLOG, reuse_port=True, dualstack_ipv6=dual
            )
            sockets.append(opened.enter_context(own))
            port = own.getsockname()[1]
        opened.pop_all()
    return sockets
