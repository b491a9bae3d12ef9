"""A listening socket that accepts connections no faster than the node can handle them.

The server of an event loop accepts all at once. Here callers that have to wait are parked: they
are not read, no timeout runs for them, and hosts take turns, so that one with many callers holds up
no other. When each of MAX_PARKED hosts has a caller that waits, further ones do so in the system's
backlog.
"""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import islice

from wakumail.waku.rate_limits import host_of

log = logging.getLogger(__name__)

BACKLOG = 1024
"""Connections that may wait to be accepted."""

MAX_ACCEPTS = 8
"""Connections that are accepted in one round of the loop. They take less than a millisecond of it,
and callers do not have to wait one long round each."""

MAX_PARKED = 1024
"""Accepted sockets that may wait for their handshakes. They are not read."""

RETRY_INTERVAL = 1.0
"""Seconds between two attempts while the system has no more sockets."""


class Acceptor:
    """Accepts up to MAX_ACCEPTS connections in each round of the loop, while more are wanted."""

    def __init__(
        self,
        own: socket.socket,
        protocol: Callable[[], asyncio.BaseProtocol],
        has_slot: Callable[[str], bool],
        on_crowded_out: Callable[[], None],
        *,
        max_descriptor: int | None = None,
        on_no_files: Callable[[], None] = lambda: None,
    ) -> None:
        """`own` listens already and is closed here. `protocol` is called for each connection.

        `has_slot` tells if one of a host may begin; if not, it is parked until a `begin_parked`.
        `on_crowded_out` is called for each parked socket that is closed, as the newest of the host
        that has the most, when MAX_PARKED are or the descriptors below `max_descriptor` are used
        up. `on_no_files` is called for each caller that is closed because none is parked then.
        """
        own.setblocking(False)
        self._socket = own
        self._protocol = protocol
        self._has_slot = has_slot
        self._on_crowded_out = on_crowded_out
        self._max_descriptor = max_descriptor
        self._on_no_files = on_no_files
        self._parked: dict[str, deque[socket.socket]] = {}
        """By host; the next is the turn of the first."""
        self._parked_count = 0
        self._loop = asyncio.get_running_loop()
        self._taking: set[asyncio.Task[None]] = set()
        self._begin_planned = False
        self._closed = False
        self._exhausted = False
        """True if the system had no more sockets at the last attempt."""
        self._watching = False
        self._watch()

    def close(self) -> None:
        """Close the listening socket, and those that are parked."""
        self._closed = True
        self._watch()
        self._socket.close()
        while self._parked:
            for parked in self._parked.popitem()[1]:
                parked.close()
        self._parked_count = 0

    def begin_parked(self) -> None:
        """Begin, in this round of the loop or the next, with parked connections that may.

        Of each host it is the oldest, and its others are behind those of the other hosts then.
        """
        if self._parked and not self._begin_planned:
            self._begin_planned = True
            self._loop.call_soon(self._begin_some)

    def _begin_some(self) -> None:
        self._begin_planned = False
        may = islice(filter(self._has_slot, self._parked), MAX_ACCEPTS)
        for host in tuple(may):
            self._begin(self._unpark(host, newest=False))
            if (others := self._parked.pop(host, None)) is not None:
                self._parked[host] = others

    async def wait_closed(self) -> None:
        """Wait until each accepted connection has its protocol."""
        await asyncio.gather(*self._taking)

    def _accept_some(self) -> None:
        for _ in range(MAX_ACCEPTS):
            if self._watching:
                self._accept()

    def _accept(self) -> None:
        try:
            taken, address = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            log.error("no connection can be accepted: %s", error)
            self._rest()
            return
        if self._is_beyond(taken) and self._parked:
            self._crowd_out()
            beyond, taken = taken, taken.dup()  # with the descriptor that is free now
            beyond.close()
        if self._is_beyond(taken):
            taken.close()
            log.error("no connection can be accepted: the files that are left are for the operator")
            self._on_no_files()
            self._rest()
            return
        taken.setblocking(False)
        host = host_of(str(address[0]).removeprefix("::ffff:")) if address else ""
        if not self._parked and self._has_slot(host):
            self._begin(taken)
        else:  # behind those that wait, though there may be a slot for it
            self._park(host, taken)
            self.begin_parked()

    def _park(self, host: str, taken: socket.socket) -> None:
        self._parked.setdefault(host, deque()).append(taken)
        self._parked_count += 1
        if self._parked_count > MAX_PARKED:
            self._crowd_out()
        self._watch()

    def _crowd_out(self) -> None:
        """Close the newest parked socket of the host that has the most."""
        crowded = max(self._parked, key=lambda each: len(self._parked[each]))
        self._unpark(crowded, newest=True).close()
        self._on_crowded_out()

    def _is_beyond(self, taken: socket.socket) -> bool:
        return self._max_descriptor is not None and taken.fileno() >= self._max_descriptor

    def _rest(self) -> None:
        """Leave callers in the backlog for RETRY_INTERVAL."""
        self._exhausted = True
        self._watch()
        self._loop.call_later(RETRY_INTERVAL, self._retry)

    def _unpark(self, host: str, *, newest: bool) -> socket.socket:
        sockets = self._parked[host]
        taken = sockets.pop() if newest else sockets.popleft()
        self._parked_count -= 1
        if not sockets:
            del self._parked[host]
            self._watch()
        return taken

    def _begin(self, taken: socket.socket) -> None:
        task = self._loop.create_task(self._connect(taken))
        self._taking.add(task)
        task.add_done_callback(self._begun)

    def _begun(self, task: asyncio.Task[None]) -> None:
        self._taking.discard(task)
        self.begin_parked()  # now that this one counts among the handshakes, or has left

    def _retry(self) -> None:
        self._exhausted = False
        self._watch()

    def _watch(self) -> None:
        """Watch the socket for callers, or leave them in the backlog."""
        is_full = len(self._parked) >= MAX_PARKED
        watching = not (self._closed or self._exhausted or is_full)
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
