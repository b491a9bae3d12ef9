"""JSON-RPC over WebSocket, called with a client other than aiohttp."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets
from aiohttp import web
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from tests.support.patience import asynchronous, eventually
from tests.support.rpc_callers import access_with
from tests.support.rpc_methods import Methods, connections, notify, request
from wakumail.rpc import http
from wakumail.rpc.access import Access
from wakumail.rpc.http import HttpEndpoint
from wakumail.rpc.jsonrpc import INVALID_REQUEST, MAX_MESSAGE, PARSE_ERROR
from wakumail.rpc.stream import MAX_CALLS, MAX_UNREAD_NOTIFICATIONS

TOKEN = "0123456789abcdef" * 2
CALL = request("test_echo", 1)


class Fixture:
    """An endpoint that offers WebSockets only."""

    def __init__(self, access: Access) -> None:
        self.methods = Methods()
        self.endpoint = HttpEndpoint(
            "127.0.0.1", 0, access, self.methods.counters, websocket=self.methods.dispatcher
        )

    def connect(self, host: str = "127.0.0.1", **choices: Any) -> websockets.connect:
        address, port = self.endpoint.address
        uri = f"ws://{host}:{port}"
        return websockets.connect(uri, host=address, port=port, max_size=None, **choices)


@asynccontextmanager
async def listening(access: Access | None = None) -> AsyncIterator[Fixture]:
    fixture = Fixture(access or access_with())
    await fixture.endpoint.start()
    try:
        yield fixture
    finally:
        await fixture.endpoint.close()


async def exchange(socket: websockets.ClientConnection, message: str | bytes) -> Any:
    await socket.send(message)
    return json.loads(await socket.recv())


async def read_to_the_end(socket: websockets.ClientConnection) -> None:
    while True:
        await socket.recv()


@asynchronous
async def test_messages_are_calls() -> None:
    async with listening() as fixture, fixture.connect() as socket:
        for message in (CALL, CALL.decode()):
            assert await exchange(socket, message) == {"jsonrpc": "2.0", "id": 1, "result": 1}
        assert [a["result"] for a in await exchange(socket, f"[{CALL.decode()}]")] == [1]
        assert (await exchange(socket, "{"))["error"]["code"] == PARSE_ERROR
        assert (await exchange(socket, "\U0001f600"))["error"]["code"] == PARSE_ERROR
        assert (await exchange(socket, "[" * 100_000))["error"]["code"] == PARSE_ERROR
        assert (await exchange(socket, "[]"))["error"]["code"] == INVALID_REQUEST


@asynchronous
async def test_answers_are_text() -> None:
    async with listening() as fixture, fixture.connect() as socket:
        await socket.send(CALL)
        assert isinstance(await socket.recv(), str)


@asynchronous
async def test_a_slow_call_holds_up_no_other() -> None:
    async with listening() as fixture, fixture.connect() as socket:
        await socket.send(request("test_wait", "late"))
        assert (await exchange(socket, CALL))["result"] == 1
        fixture.methods.gate.set()
        assert json.loads(await socket.recv())["result"] == "late"


@asynchronous
async def test_a_subscription_notifies_until_the_caller_leaves() -> None:
    async with listening() as fixture:
        async with fixture.connect() as socket:
            assert (await exchange(socket, request("test_subscribe")))["result"] == "1"
            notify(fixture.methods.sessions[0], 5)
            assert json.loads(await socket.recv()) == {
                "jsonrpc": "2.0",
                "method": "test_subscription",
                "params": {"subscription": "1", "result": 5},
            }
            assert not fixture.methods.ended
        await eventually(lambda: len(fixture.methods.ended) == 1)


@asynchronous
async def test_a_caller_that_vanishes() -> None:
    async with listening() as fixture:
        socket = await fixture.connect()
        await socket.send(request("test_wait"))
        await exchange(socket, request("test_subscribe"))
        socket.transport.abort()
        await eventually(lambda: len(fixture.methods.ended) == 1)
        assert fixture.methods.waiting == 0


@asynchronous
async def test_a_caller_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wakumail.rpc.stream.SEND_TIMEOUT", 0.1)
    async with listening() as fixture, fixture.connect() as socket:
        await exchange(socket, request("test_subscribe"))
        socket.transport.pause_reading()
        session = fixture.methods.sessions[0]
        while not fixture.methods.ended:
            notify(session, "x" * (MAX_UNREAD_NOTIFICATIONS // 10))
            await asyncio.sleep(0)
        assert fixture.methods.counters["rpc_sessions_slow"] == 1
        socket.transport.resume_reading()
        with pytest.raises(ConnectionClosed):
            await read_to_the_end(socket)


@asynchronous
async def test_the_calls_of_a_session_have_a_bound() -> None:
    async with listening() as fixture, fixture.connect() as socket:
        for _ in range(MAX_CALLS + 5):
            await socket.send(request("test_wait"))
        await eventually(lambda: fixture.methods.waiting == MAX_CALLS)
        fixture.methods.gate.set()
        for _ in range(MAX_CALLS + 5):
            await socket.recv()


@asynchronous
async def test_a_message_has_a_bound() -> None:
    async with listening() as fixture, fixture.connect() as socket:
        largest = request("test_echo", "x" * (MAX_MESSAGE - len(request("test_echo", ""))))
        assert len((await exchange(socket, largest))["result"]) < MAX_MESSAGE
        # It is refused at the head of the frame. A client that still writes the rest may meet the
        # end of the connection before it reads the refusal.
        masked_text, masked_in_64_bits = 0x81, 0x80 | 127
        head = struct.pack(">BBQ4x", masked_text, masked_in_64_bits, MAX_MESSAGE + 1)
        socket.transport.write(head)
        with pytest.raises(ConnectionClosed) as raised:
            await socket.recv()
        assert raised.value.rcvd is not None
        assert raised.value.rcvd.code == 1009


@asynchronous
async def test_messages_are_not_compressed() -> None:
    async with listening() as fixture, fixture.connect(compression="deflate") as socket:
        assert socket.response is not None
        assert "sec-websocket-extensions" not in socket.response.headers


async def refusal(connecting: websockets.connect) -> int:
    """The HTTP status that refuses a WebSocket."""
    with pytest.raises(InvalidStatus) as raised:
        await connecting
    return raised.value.response.status_code


@asynchronous
async def test_origins_are_checked() -> None:
    page = Origin("http://localhost:3000")
    async with listening() as fixture:
        assert await refusal(fixture.connect(origin=page)) == 403
    async with listening(access_with(origins=[page])) as fixture:
        assert await refusal(fixture.connect(origin=Origin("https://evil.example"))) == 403
        async with fixture.connect(origin=page) as socket:
            assert (await exchange(socket, CALL))["result"] == 1


@asynchronous
async def test_names_that_could_be_rebound_are_refused() -> None:
    async with listening() as fixture:
        assert await refusal(fixture.connect("evil.example")) == 403
        async with fixture.connect("localhost") as socket:
            assert (await exchange(socket, CALL))["result"] == 1


@asynchronous
async def test_a_token_is_asked_for() -> None:
    async with listening(access_with(token=TOKEN)) as fixture:
        assert await refusal(fixture.connect()) == 401
        wrong = {"Authorization": f"Bearer {TOKEN[:-1]}"}
        assert await refusal(fixture.connect(additional_headers=wrong)) == 401
        right = {"Authorization": f"Bearer {TOKEN}"}
        async with fixture.connect(additional_headers=right) as socket:
            assert (await exchange(socket, CALL))["result"] == 1


@asynchronous
async def test_what_is_no_websocket_is_told_so() -> None:
    async with listening() as fixture:
        for head, status in (
            (b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0", b"426"),
            (b"GET / HTTP/1.1\r\nhost: localhost", b"426"),
            (b"GET /x HTTP/1.1\r\nhost: localhost", b"404"),
            (b"GET / HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket", b"400"),
            (b"POST / HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket", b"400"),
        ):
            reader, writer = await asyncio.open_connection(*fixture.endpoint.address)
            writer.write(head + b"\r\n\r\n")
            assert (await reader.readline()).split()[1] == status
            writer.close()


@asynchronous
async def test_where_no_websocket_is_offered() -> None:
    methods = Methods()
    endpoint = HttpEndpoint(
        "127.0.0.1", 0, access_with(), methods.counters, http=methods.dispatcher
    )
    await endpoint.start()
    host, port = endpoint.address
    # Without its upgrade the request is a GET.
    assert await refusal(websockets.connect(f"ws://{host}:{port}")) == 200
    await endpoint.close()


@asynchronous
async def test_both_on_one_address() -> None:
    over_http, over_websocket = Methods(), Methods()
    endpoint = HttpEndpoint(
        "127.0.0.1",
        0,
        access_with(),
        over_http.counters,
        http=over_http.dispatcher,
        websocket=over_websocket.dispatcher,
    )
    await endpoint.start()
    host, port = endpoint.address
    async with websockets.connect(f"ws://{host}:{port}") as socket:
        await exchange(socket, request("test_note", "websocket"))
    reader, writer = await asyncio.open_connection(host, port)
    call = request("test_note", "http")
    writer.write(
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(call), call)
    )
    await reader.read()
    writer.close()
    await endpoint.close()
    assert over_websocket.noted == [["websocket"]]
    assert over_http.noted == [["http"]]


@asynchronous
async def test_close_says_goodbye() -> None:
    async with listening() as fixture, fixture.connect() as socket:
        await socket.send(request("test_wait"))
        await exchange(socket, request("test_subscribe"))
        closing = asyncio.create_task(fixture.endpoint.close())
        with pytest.raises(ConnectionClosed) as raised:
            await socket.recv()
        assert raised.value.rcvd is not None
        assert raised.value.rcvd.code == 1001
        await closing
        assert fixture.methods.waiting == 0
        assert len(fixture.methods.ended) == 1


@asynchronous
async def test_close_does_not_wait_for_those_who_do_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "HTTP_CLOSE_TIMEOUT", 0.01)
    async with listening() as fixture, fixture.connect() as socket:
        await exchange(socket, request("test_subscribe"))
        socket.transport.pause_reading()
        await fixture.endpoint.close()
        assert len(fixture.methods.ended) == 1
        socket.transport.abort()


@asynchronous
async def test_a_caller_that_leaves_a_ping_unanswered_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "HEARTBEAT", 0.02)
    async with listening() as fixture, fixture.connect() as socket:
        socket.transport.pause_reading()
        await eventually(lambda: connections(fixture.endpoint) == 0)
        socket.transport.abort()


@asynchronous
async def test_pings_are_answered_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many come at once, a round of the loop answers as many as fit into its turn."""
    monkeypatch.setattr("wakumail.base.turns.TURN_TIME", 0.0)  # one
    answered = [0]
    pong = web.WebSocketResponse.pong

    async def count(socket: web.WebSocketResponse, message: bytes = b"") -> None:
        answered[-1] += 1
        await pong(socket, message)

    monkeypatch.setattr(web.WebSocketResponse, "pong", count)
    async with listening() as fixture, fixture.connect() as socket:
        socket.transport.write(b"\x89\x80\0\0\0\0" * 3000)
        while sum(answered) < 3000:
            answered.append(0)
            await asyncio.sleep(0)
        assert max(answered) == 1
        assert await exchange(socket, CALL) == {"jsonrpc": "2.0", "id": 1, "result": 1}
