"""The server of an HTTP address, with bounds on its connections and on what waits for them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from aiohttp import web
from aiohttp.http import HttpProcessingError

from wakumail.base.turns import Turns
from wakumail.counters import Counters
from wakumail.rpc.caller_slots import Caller, CallerSlots
from wakumail.rpc.paced_connection import PacedConnection
from wakumail.rpc.stream import SEND_TIMEOUT

IDLE_TIMEOUT = 60.0
"""Seconds that a connection may wait for the head of its next request."""

LINGERING_TIME = 2.0
"""Seconds in which the rest of a refused body is read, so that the caller gets the answer."""

HTTP_CLOSE_TIMEOUT = 2.0
"""Seconds for requests in progress, and for the closing of WebSockets, when we close."""

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
"""The answer to a connection beyond the bound."""

HttpHandler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

log = logging.getLogger(__name__)


class BoundedServer(web.Server):
    """Takes a number of connections at a time; see CallerSlots for those beyond it."""

    def __init__(
        self, handler: HttpHandler, counters: Counters, max_callers: int, **choices: Any
    ) -> None:
        super().__init__(
            handler,
            keepalive_timeout=IDLE_TIMEOUT,
            lingering_time=LINGERING_TIME,
            auto_decompress=False,
            access_log=None,
            logger=log,
            **choices,
        )
        self._counters = counters
        self._slots = CallerSlots(counters)
        self._max_callers = max_callers
        self._callers: dict[web.RequestHandler, Caller] = {}
        self._runner = web.ServerRunner(self, shutdown_timeout=HTTP_CLOSE_TIMEOUT)
        self.turns = Turns()
        """The time of all its connections in a round of the loop."""

    def __call__(self) -> PacedConnection:  # type: ignore[override]  # wrapped
        """The protocol of one more connection."""
        return PacedConnection(super().__call__(), self.turns)

    async def start(self, addr: str, port: int) -> tuple[str, int]:
        """Listen; returns the address in use. OSError if it is not available."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, addr, port).start()
        except OSError:
            await self._runner.cleanup()
            raise
        host, port, *_ = self._runner.addresses[0]
        return host, port

    async def stop_listening(self) -> None:
        """Take no more connections."""
        for site in self._runner.sites:
            await site.stop()

    async def close(self) -> None:
        """Stop listening, and end the requests in progress."""
        await self._runner.cleanup()

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

    async def respond(self, request: web.BaseRequest, response: web.Response) -> web.Response:
        """Send an answer; a caller that does not read it in time is disconnected."""
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            self._counters.add("rpc_sessions_slow")
            abort(request)
        return response


def abort(request: web.BaseRequest) -> None:
    """Close the connection of a request at once, with everything unsent."""
    if request.transport is not None:
        request.transport.abort()


@log.addFilter
def _is_ours(record: logging.LogRecord) -> bool:
    """Drop log records of errors that callers cause: invalid HTTP, lost connections."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, (HttpProcessingError, OSError))
