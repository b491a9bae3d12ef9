"""GET /store/v3/messages on a TCP address: history as the REST API of nwaku answers it.

Errors are plain text: 400 with the reason for a wrong parameter, 429 over the rate limit, 503 where
the archive cannot be read.
"""

import asyncio
import json
import logging
import time

from aiohttp import web

from wakumail.base.token_bucket import RateLimiter
from wakumail.counters import Counters
from wakumail.errors import ArchiveError
from wakumail.rpc.access import Access
from wakumail.rpc.bounded_server import BoundedServer
from wakumail.rpc.http import JSON
from wakumail.rpc.rest.store_query import ParameterError, read_query
from wakumail.rpc.rest.store_reader import StoreReader
from wakumail.rpc.stream import MAX_SESSIONS

PATH = "/store/v3/messages"

MAX_REQUEST_LINE = 64 << 10
"""Bytes of the first line of a request, which holds all parameters."""

MAX_ANSWERING = 2
"""Requests that are answered at a time; the others wait, so that peers come first."""

PREFLIGHT_SECONDS = 600
"""Seconds for which a browser may remember that it may ask."""

log = logging.getLogger(__name__)


class RestEndpoint:
    """One TCP address that answers requests for history.

    `rate`: requests per second of one address; 0 = no limit. AccessError if other machines could
    reach the address without a token.
    """

    def __init__(
        self, reader: StoreReader, access: Access, counters: Counters, *, rate: float
    ) -> None:
        self.max_callers = MAX_SESSIONS
        self._reader = reader
        self._access = access
        self._counters = counters
        self._limiter = RateLimiter(rate)
        self._turns = asyncio.Semaphore(MAX_ANSWERING)
        self._server: BoundedServer

    async def start(self, addr: str, port: int) -> tuple[str, int]:
        """Listen; returns the address in use. OSError if it is not available."""
        self._access.check_exposure(addr)
        self._server = BoundedServer(
            self._handle,
            self._counters,
            self.max_callers,
            handler_cancellation=True,  # a request is given up when its caller leaves
            max_line_size=MAX_REQUEST_LINE,
        )
        return await self._server.start(addr, port)

    async def close(self) -> None:
        """Stop listening, and end the requests in progress."""
        await self._server.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._counters.add("rest_requests")
        response = await self._answer(request)
        if response.status >= 400:
            self._counters.add("rest_requests_failed")
        response.headers.update(self._cross_origin(request))
        return await self._server.respond(request, response)

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if not self._access.allows_host(request.headers.get("Host")):
            return refusal(403, "the host is not one of --http.vhosts")
        if request.path != PATH:
            return refusal(404, f"there is only {PATH}")
        if request.method == "OPTIONS":  # a preflight, which has no token (Fetch, "CORS protocol")
            return web.Response(status=204)
        if request.method not in ("GET", "HEAD"):
            return refusal(405, "history is read only", Allow="GET, HEAD, OPTIONS")
        if not self._access.allows_token(request.headers.get("Authorization")):
            return refusal(
                401, "the bearer token is missing or wrong", **{"WWW-Authenticate": "Bearer"}
            )
        if not self._limiter.take((request.remote,), time.time()):
            self._counters.add("rest_rate_limited")
            return refusal(429, "more requests than --store.rate allows")
        with self._server.caller_of(request).calling():
            return await self._query(request)

    async def _query(self, request: web.BaseRequest) -> web.Response:
        """Answer a request that may ask."""
        try:
            query = read_query(request.query.items())
            async with self._turns:
                answer = await self._reader.answer(query)
        except ParameterError as error:
            self._counters.add(error.counter)
            return refusal(400, str(error))
        except ArchiveError as error:
            log.error("a request over HTTP failed: %s", error)
            self._counters.add("rest_archive_failed")
            return refusal(503, "the archive could not be read")
        self._counters.add("rest_messages", len(answer.messages))
        told = self._reader.tell(answer, include_data=query.include_data)
        body = json.dumps(told, separators=(",", ":")).encode()
        return web.Response(body=body, content_type=JSON)

    def _cross_origin(self, request: web.BaseRequest) -> dict[str, str]:
        """The headers that let a page of an allowed origin read the answer."""
        origin = request.headers.get("Origin")
        if origin is None or not self._access.allows_origin(origin):
            return {"Vary": "Origin"}
        return {
            "Vary": "Origin",
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Methods": "GET, HEAD",
            "Access-Control-Allow-Headers": "Authorization, Accept, Content-Type",
            "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
        }


def refusal(status: int, reason: str, **headers: str) -> web.Response:
    """An answer without messages."""
    return web.Response(status=status, text=f"{reason}\n", headers=headers)
