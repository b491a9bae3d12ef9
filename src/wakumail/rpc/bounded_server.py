"""The server of an HTTP address, with a bound on its connections."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from aiohttp import web

from wakumail.counters import Counters
from wakumail.rpc.caller_slots import Caller, CallerSlots

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
"""The answer to a connection beyond the bound."""

HttpHandler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class BoundedServer(web.Server):
    """Takes a number of connections at a time; see CallerSlots for those beyond it."""

    def __init__(
        self, handler: HttpHandler, counters: Counters, max_callers: int, **choices: Any
    ) -> None:
        super().__init__(handler, **choices)
        self._slots = CallerSlots(counters)
        self._max_callers = max_callers
        self._callers: dict[web.RequestHandler, Caller] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Take a connection, or answer 503 if all others have calls in progress."""
        super().connection_made(handler, transport)
        caller = self._callers[handler] = Caller(transport.abort)
        if not self._slots.enter(caller, self._max_callers):
            transport.write(BUSY)
            transport.close()

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        """Free the slot of a connection."""
        super().connection_lost(handler, exc)
        if (caller := self._callers.pop(handler, None)) is not None:
            self._slots.leave(caller)

    def caller_of(self, request: web.BaseRequest) -> Caller:
        """The connection of a request."""
        return self._callers.get(request.protocol) or Caller(lambda: None)


def abort(request: web.BaseRequest) -> None:
    """Close the connection of a request at once, with everything unsent."""
    if request.transport is not None:
        request.transport.abort()
