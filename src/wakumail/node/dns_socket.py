"""The sockets with which dnspython asks. The first question imports this module and dnspython.

It gets answers that are `reduced`, for it parses them on the event loop.

dnspython's own datagram sockets are transports of the event loop. uvloop loses one whose making is
cancelled: it stays open until it is collected, and where warnings are errors the loop never closes.
"""

import asyncio
import socket
from contextlib import suppress
from copy import copy
from typing import Any, Self

from dns.asyncbackend import get_backend
from dns.exception import Timeout

from wakumail.node.dns_answer import DnsAnswerRefused, check_size, reduced

LENGTH_SIZE = 2
"""Bytes before an answer over TCP (RFC 1035, 4.2.2)."""


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
        """An answer, and its sender. OSError; Timeout after `seconds`.

        One that is refused may have been sent by anybody in the name of the server: as dnspython
        does with garbled ones, the next is waited for.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                while True:
                    data = await loop.sock_recv(self._socket, size)
                    with suppress(DnsAnswerRefused):
                        return reduced(data), self._socket.getpeername()
        except TimeoutError:
            raise Timeout from None


class DnsStream:
    """A connection of dnspython, over which one answer comes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._unread = b""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stream.close()

    async def sendall(self, what: bytes, seconds: float | None) -> None:
        """Send a question. OSError; Timeout after `seconds`."""
        await self._stream.sendall(what, seconds)

    async def recv(self, size: int, seconds: float | None) -> bytes:
        """Up to `size` bytes of the answer and the length before it.

        OSError, DnsAnswerRefused among them; EOFError; Timeout if it has not come in `seconds`.
        """
        if not self._unread:
            try:
                async with asyncio.timeout(seconds):
                    length = int.from_bytes(await self._read(LENGTH_SIZE))
                    check_size(length)
                    answer = reduced(await self._read(length))
            except TimeoutError:
                raise Timeout from None
            self._unread = len(answer).to_bytes(LENGTH_SIZE) + answer
        piece, self._unread = self._unread[:size], self._unread[size:]
        return piece

    async def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = await self._stream.recv(size - len(data), None)
            if not piece:
                raise EOFError
            data += piece
        return data


def asking_backend() -> Any:
    """dnspython's backend for asyncio, with these sockets."""
    backend: Any = copy(get_backend("asyncio"))  # all users share that one
    make_stream = backend.make_socket

    async def make_socket(family: int, kind: int, *others: Any, **named: Any) -> Any:
        if kind == socket.SOCK_DGRAM:
            return DnsDatagrams(family)
        return DnsStream(await make_stream(family, kind, *others, **named))

    backend.make_socket = make_socket
    return backend
