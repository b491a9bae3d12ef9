"""The sockets with which dnspython asks. The first question imports this module and dnspython.

dnspython's own datagram sockets are transports of the event loop. uvloop loses one whose making is
cancelled: it stays open until it is collected, and where warnings are errors the loop never closes.
"""

import asyncio
import socket
from copy import copy
from typing import Any, Self

from dns.asyncbackend import get_backend
from dns.exception import Timeout


class DnsDatagrams:
    """A datagram socket of dnspython: nothing has to be waited for to make or to close it."""

    def __init__(self, family: int) -> None:
        self.family = family
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        self._socket.close()

    async def sendto(self, what: bytes, destination: Any, seconds: float | None) -> int:
        """Send to a name server, from which alone answers come then. OSError."""
        self._socket.connect(destination)
        return self._socket.send(what)

    async def recvfrom(self, size: int, seconds: float | None) -> tuple[bytes, Any]:
        """An answer, and its sender. OSError; Timeout after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                data = await asyncio.get_running_loop().sock_recv(self._socket, size)
        except TimeoutError:
            raise Timeout from None
        return data, self._socket.getpeername()


def asking_backend() -> Any:
    """dnspython's backend for asyncio, with these datagrams and its own streams."""
    backend: Any = copy(get_backend("asyncio"))  # all users share that one
    make_stream = backend.make_socket

    async def make_socket(family: int, kind: int, *others: Any, **named: Any) -> Any:
        if kind == socket.SOCK_DGRAM:
            return DnsDatagrams(family)
        return await make_stream(family, kind, *others, **named)

    backend.make_socket = make_socket
    return backend
