"""JSON-RPC over HTTP and WebSocket, either or both on one TCP address.

HTTP as in geth: a POST to `/` with a body of application/json. Every answer of JSON-RPC, also an
error, has status 200; so has the answer to an empty GET, which asks if the server is there. Pages
of other origins cannot call: that needs a preflight, and OPTIONS is refused.
"""

import asyncio
from typing import Any

from aiohttp import ClientWebSocketResponse, WSCloseCode, WSMsgType, web

from wakumail.base.transports import read_up_to
from wakumail.base.turns import Turns
from wakumail.counters import Counters
from wakumail.rpc.access import Access
from wakumail.rpc.bounded_server import HTTP_CLOSE_TIMEOUT, BoundedServer, abort
from wakumail.rpc.jsonrpc import MAX_MESSAGE, Dispatcher, Session
from wakumail.rpc.stream import MAX_SESSIONS, StreamSession

JSON = "application/json"

BODY_TIMEOUT = 30.0
"""Seconds in which the body of a request must arrive."""

HEARTBEAT = 30.0
"""Seconds between pings of a silent WebSocket; one that leaves a ping unanswered is closed."""


class WebSocketWire:
    """A WebSocket as a wire, for server and caller; each message is one value, as text.

    The socket leaves pings and pongs to the wire: aiohttp would answer all that have come in one
    step.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse | ClientWebSocketResponse,
        turns: Turns | None = None,
    ) -> None:
        """`turns`: those that share the time of the loop with it, if there are others."""
        self._socket = socket
        self._turns = turns or Turns()

    async def receive(self) -> bytes:
        """The next message; ConnectionResetError if the WebSocket has closed."""
        while (message := await self._socket.receive()).type in (WSMsgType.PING, WSMsgType.PONG):
            await self._turns.turn()
            if message.type == WSMsgType.PING:
                # Waits while the other side does not read.
                await self._socket.pong(message.data)
        if message.type == WSMsgType.TEXT:
            return str(message.data).encode("utf-8", "surrogatepass")
        if message.type == WSMsgType.BINARY:
            return bytes(message.data)
        raise ConnectionResetError("the WebSocket has closed")

    async def send(self, value: bytes) -> None:
        """Send one message."""
        await self._socket.send_frame(value, WSMsgType.TEXT)


class HttpEndpoint:
    """One TCP address: calls over HTTP, sessions over WebSocket, or both.

    AccessError if other machines could reach the address without a token.
    """

    def __init__(
        self,
        addr: str,
        port: int,
        access: Access,
        counters: Counters,
        *,
        http: Dispatcher | None = None,
        websocket: Dispatcher | None = None,
    ) -> None:
        access.check_exposure(addr)
        self._addr = addr
        self._port = port
        self._access = access
        self._counters = counters
        self._http = http
        self._websocket = websocket
        self._sessions: dict[StreamSession, asyncio.Task[Any]] = {}
        self._server: BoundedServer
        self.address: tuple[str, int]
        """Host and port that it listens on, once started."""
        self.max_callers = MAX_SESSIONS

    @property
    def offers(self) -> str:
        """The names of its protocols, for the log."""
        spoken = {"HTTP": self._http, "WebSocket": self._websocket}
        return " and ".join(name for name, dispatcher in spoken.items() if dispatcher is not None)

    async def start(self) -> None:
        """Listen; OSError if the address is not available."""
        self._server = BoundedServer(
            self._handle,
            self._counters,
            self.max_callers,
            handler_cancellation=True,  # the calls of a caller that leaves are cancelled
        )
        self.address = await self._server.start(self._addr, self._port)

    async def close(self) -> None:
        """Stop listening, and end calls and sessions."""
        await self._server.stop_listening()
        ending = list(self._sessions.values())
        for session in self._sessions:
            session.close()
        if ending:
            await asyncio.wait(ending, timeout=2 * HTTP_CLOSE_TIMEOUT)
        await self._server.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request; it may become a WebSocket."""
        self._check_access(request)
        if request.path != "/":
            raise web.HTTPNotFound
        if self._websocket is not None and is_upgrade(request):
            return await self._serve_websocket(request, self._websocket)
        if self._http is None:
            raise web.HTTPUpgradeRequired(headers={"Upgrade": "websocket"})
        if request.method == "GET" and not request.body_exists:
            return web.Response()
        if request.method != "POST":
            raise web.HTTPMethodNotAllowed(request.method, ["GET", "POST"])
        session = Session()
        try:
            body = await read_body(request)
            with self._server.caller_of(request).calling():
                answer = await self._http.handle(session, body)
        finally:
            session.end()
        response = web.Response(body=answer or b"", content_type=JSON)
        return await self._server.respond(request, response)

    def _check_access(self, request: web.BaseRequest) -> None:
        """Refuse a request without an allowed host, token and origin."""
        headers = request.headers
        if not self._access.allows_host(headers.get("Host")):
            raise web.HTTPForbidden(text="the host is not one of --http.vhosts")
        if not self._access.allows_token(headers.get("Authorization")):
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})
        if is_upgrade(request) and not self._access.allows_origin(headers.get("Origin")):
            raise web.HTTPForbidden(text="the origin is not one of --ws.origins")

    async def _serve_websocket(
        self, request: web.BaseRequest, dispatcher: Dispatcher
    ) -> web.WebSocketResponse:
        """Serve a session on a WebSocket to its end."""
        socket = web.WebSocketResponse(
            timeout=HTTP_CLOSE_TIMEOUT,
            autoping=False,
            heartbeat=HEARTBEAT,
            compress=False,
            max_msg_size=MAX_MESSAGE + 1,  # the first size that is too large
        )
        await socket.prepare(request)
        caller = self._server.caller_of(request)
        wire = WebSocketWire(socket, self._server.turns)
        session = StreamSession(dispatcher, wire, self._counters, caller)
        task = asyncio.current_task()
        assert task is not None
        self._sessions[session] = task
        try:
            await session.serve()
        finally:
            del self._sessions[session]
            if session.slow or socket.close_code == WSCloseCode.ABNORMAL_CLOSURE:
                abort(request)
        await socket.close(code=WSCloseCode.GOING_AWAY)
        return socket


def is_upgrade(request: web.BaseRequest) -> bool:
    """True if a request asks for a WebSocket."""
    return request.headers.get("Upgrade", "").lower() == "websocket"


async def read_body(request: web.BaseRequest) -> bytes:
    """The body of a call; an HTTP error if it is too large, too slow, or not JSON."""
    if request.content_type != JSON or "Content-Encoding" in request.headers:
        raise web.HTTPUnsupportedMediaType(text=f"the body must be {JSON}, not compressed")
    if (request.content_length or 0) > MAX_MESSAGE:
        raise too_large(request.content_length)
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            body = await read_up_to(request.content.iter_any(), MAX_MESSAGE)
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except web.RequestPayloadError:
        raise web.HTTPBadRequest from None
    if len(body) > MAX_MESSAGE:
        raise too_large(len(body))
    return body


def too_large(size: int | None) -> web.HTTPRequestEntityTooLarge:
    """The error for a body that is too large."""
    return web.HTTPRequestEntityTooLarge(MAX_MESSAGE, size or 0)
