"""JSON-RPC over HTTP: calls, refusals, and bodies that are broken or slow."""

import asyncio
import contextlib
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from tests.support.patience import asynchronous, eventually
from tests.support.rpc_callers import access_with
from tests.support.rpc_methods import Methods, connections, request
from wakumail.rpc import bounded_server, http
from wakumail.rpc.access import Access, AccessError
from wakumail.rpc.http import HttpEndpoint
from wakumail.rpc.jsonrpc import INVALID_REQUEST, MAX_BATCH, MAX_MESSAGE, PARSE_ERROR

TOKEN = "0123456789abcdef" * 2
CALL = request("test_echo", 1)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Fixture:
    """An endpoint that offers HTTP only, and raw connections to it."""

    def __init__(self, access: Access) -> None:
        self.methods = Methods()
        self.endpoint = HttpEndpoint(
            "127.0.0.1", 0, access, self.methods.counters, http=self.methods.dispatcher
        )
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self.endpoint.address)
        self._writers.append(writer)
        return reader, writer

    async def send(self, head: str, body: bytes = b"") -> Answer:
        """The answer to a request, sent unchanged."""
        reader, writer = await self.connect()
        writer.write(head.replace("\n", "\r\n").encode("utf-8", "surrogateescape") + body)
        return await read_answer(reader)

    async def post(self, body: bytes, **headers: str) -> Answer:
        """The answer to a POST."""
        return await self.send(head(body, **headers), body)

    async def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await self.endpoint.close()


def head(body: bytes, **headers: str) -> str:
    """The head of a POST; `content_type="..."` is a header."""
    fields = {"host": "localhost", "content-type": "application/json"}
    fields["content-length"] = str(len(body))
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    return "POST / HTTP/1.1\n" + "".join(f"{k}: {v}\n" for k, v in fields.items() if v) + "\n"


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Answer(int(status.split()[1]), headers, body)


@asynccontextmanager
async def listening(access: Access | None = None) -> AsyncIterator[Fixture]:
    fixture = Fixture(access or access_with())
    await fixture.endpoint.start()
    try:
        yield fixture
    finally:
        await fixture.close()


def error_code(answer: Answer) -> int:
    assert answer.status == 200
    return int(json.loads(answer.body)["error"]["code"])


@asynchronous
async def test_a_call() -> None:
    async with listening() as fixture:
        answer = await fixture.post(CALL)
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json"
        assert json.loads(answer.body) == {"jsonrpc": "2.0", "id": 1, "result": 1}


@asynchronous
async def test_a_charset_and_chunks() -> None:
    async with listening() as fixture:
        answer = await fixture.post(CALL, content_type="Application/JSON; charset=utf-8")
        assert answer.status == 200
        chunks = b"5\r\n" + CALL[:5] + b"\r\n%x\r\n" % len(CALL[5:]) + CALL[5:] + b"\r\n0\r\n\r\n"
        answer = await fixture.send(
            head(b"", content_length="", transfer_encoding="chunked"), chunks
        )
        assert json.loads(answer.body)["result"] == 1


@asynchronous
async def test_several_calls_on_one_connection() -> None:
    async with listening() as fixture:
        reader, writer = await fixture.connect()
        for _ in range(2):
            writer.write(head(CALL).replace("\n", "\r\n").encode() + CALL)
            assert (await read_answer(reader)).status == 200


@asynchronous
async def test_a_notification_is_a_call_without_an_answer() -> None:
    async with listening() as fixture:
        answer = await fixture.post(b'{"jsonrpc":"2.0","method":"test_note","params":[1]}')
        assert (answer.status, answer.body) == (200, b"")
        assert fixture.methods.noted == [[1]]


@asynchronous
async def test_errors_of_json_rpc_are_a_200() -> None:
    async with listening() as fixture:
        assert error_code(await fixture.post(b"{")) == PARSE_ERROR
        assert error_code(await fixture.post(b"")) == PARSE_ERROR
        assert error_code(await fixture.post(b"[" * 100_000)) == PARSE_ERROR
        assert error_code(await fixture.post(b"[]")) == INVALID_REQUEST
        batch = b"[%b]" % b",".join([CALL] * (MAX_BATCH + 1))
        assert error_code(await fixture.post(batch)) == INVALID_REQUEST


@asynchronous
async def test_an_empty_get_asks_whether_anybody_is_there() -> None:
    async with listening() as fixture:
        answer = await fixture.send("GET / HTTP/1.1\nhost: localhost\n\n")
        assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    ("start", "status"),
    [
        ("GET /other HTTP/1.1", 404),
        ("PUT / HTTP/1.1", 405),
        ("DELETE / HTTP/1.1", 405),
        ("PATCH / HTTP/1.1", 405),
        ("OPTIONS / HTTP/1.1", 405),
        ("POST / HTTP/1.1", 415),
        ("POST / HTTP/1.1\ncontent-type: text/plain", 415),
        ("POST / HTTP/1.1\ncontent-type: application/x-www-form-urlencoded", 415),
        ("POST / HTTP/1.1\ncontent-type: text/plain; application/json", 415),
        ("GET / HTTP/1.1\ncontent-length: 2", 405),
    ],
)
@asynchronous
async def test_what_is_no_call(start: str, status: int) -> None:
    async with listening() as fixture:
        body = b"{}" if "content-length" in start else b""
        answer = await fixture.send(f"{start}\nhost: localhost\n\n", body)
        assert answer.status == status
        assert not any(name.startswith("access-control") for name in answer.headers)
        assert not fixture.methods.counters["rpc_requests"]


@asynchronous
async def test_a_preflight_of_a_page_is_refused() -> None:
    async with listening() as fixture:
        answer = await fixture.send(
            "OPTIONS / HTTP/1.1\nhost: localhost\norigin: https://evil.example\n"
            "access-control-request-method: POST\naccess-control-request-headers: content-type\n\n"
        )
        assert answer.status == 405
        assert not any(name.startswith("access-control") for name in answer.headers)


@asynchronous
async def test_a_body_has_a_bound() -> None:
    async with listening() as fixture:
        largest = request("test_echo", "x" * (MAX_MESSAGE - len(request("test_echo", ""))))
        assert len(largest) == MAX_MESSAGE
        assert (await fixture.post(largest)).status == 200
        answer = await fixture.send(head(b"", content_length=str(MAX_MESSAGE + 1)))
        assert answer.status == 413


@asynchronous
async def test_a_body_in_chunks_has_the_same_bound() -> None:
    async with listening() as fixture:
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        answer = await fixture.send(
            head(b"", content_length="", transfer_encoding="chunked"),
            chunk * (MAX_MESSAGE // 0x10000 + 1) + b"0\r\n\r\n",
        )
        assert answer.status == 413


@asynchronous
async def test_a_compressed_body_is_refused() -> None:
    async with listening() as fixture:
        bomb = zlib.compress(b" " * 50_000_000)
        answer = await fixture.post(bomb, content_encoding="deflate")
        assert answer.status == 415


@asynchronous
async def test_a_caller_that_waits_for_continue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_server, "LINGERING_TIME", 0.001)
    async with listening() as fixture:
        reader, writer = await fixture.connect()
        writer.write(head(CALL, expect="100-continue").replace("\n", "\r\n").encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(CALL)
        assert json.loads((await read_answer(reader)).body)["result"] == 1
        refused = head(b"", content_length=str(MAX_MESSAGE + 1), expect="100-continue")
        assert (await fixture.send(refused)).status == 413


@asynchronous
async def test_a_slow_body_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_TIMEOUT", 0.001)
    monkeypatch.setattr(bounded_server, "LINGERING_TIME", 0.001)
    async with listening() as fixture:
        answer = await fixture.send(head(CALL), CALL[:-1])
        assert answer.status == 408


@asynchronous
async def test_a_slow_head_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_server, "IDLE_TIMEOUT", 0.05)
    async with listening() as fixture:
        for sent in (b"", b"POST / HTTP/1.1\r\nhost: localhost\r\n"):
            reader, writer = await fixture.connect()
            writer.write(sent)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""


@asynchronous
async def test_a_caller_that_does_not_read_its_answer_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounded_server, "SEND_TIMEOUT", 0.01)
    async with listening() as fixture:
        reader, writer = await fixture.connect()
        body = request("test_size", 20 << 20)
        writer.write(head(body).replace("\n", "\r\n").encode() + body)
        await eventually(lambda: fixture.methods.counters["rpc_sessions_slow"] == 1)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(20 << 20)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\xff\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 10_000 + b"\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
@asynchronous
async def test_what_is_no_http_is_a_400_and_not_in_the_log(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening() as fixture:
        reader, writer = await fixture.connect()
        writer.write(sent)
        assert (await read_answer(reader)).status == 400
        assert not caplog.records
        assert (await fixture.post(CALL)).status == 200


@asynchronous
async def test_a_caller_that_leaves_in_the_middle_of_its_body() -> None:
    async with listening() as fixture:
        _, writer = await fixture.connect()
        writer.write(head(CALL).replace("\n", "\r\n").encode() + CALL[:-1])
        await writer.drain()
        writer.transport.abort()
        assert (await fixture.post(CALL)).status == 200
        assert fixture.methods.counters == {"rpc_requests": 1}


@asynchronous
async def test_the_call_of_a_caller_that_leaves_is_ended() -> None:
    async with listening() as fixture:
        _, writer = await fixture.connect()
        body = request("test_wait")
        writer.write(head(body).replace("\n", "\r\n").encode() + body)
        await eventually(lambda: fixture.methods.waiting == 1)
        writer.transport.abort()
        await eventually(lambda: fixture.methods.waiting == 0)


@asynchronous
async def test_names_that_could_be_rebound_are_refused() -> None:
    async with listening() as fixture:
        for host in ("evil.example", "evil.example:8545", "localhost.evil.example"):
            answer = await fixture.post(CALL, host=host)
            assert answer.status == 403
            assert answer.body == b"the host is not one of --http.vhosts"
        for host in ("localhost:8545", "127.0.0.1", "[::1]:8545"):
            assert (await fixture.post(CALL, host=host)).status == 200
        old = head(CALL, host="").replace("1.1", "1.0")
        assert (await fixture.send(old, CALL)).status == 200


@asynchronous
async def test_a_token_is_asked_for() -> None:
    async with listening(access_with(token=TOKEN)) as fixture:
        for authorization in ("", "Bearer x", f"Basic {TOKEN}", "Bearer \udcff"):
            answer = await fixture.post(CALL, authorization=authorization)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == "bearer"
        get = "GET / HTTP/1.1\nhost: localhost\n\n"
        assert (await fixture.send(get)).status == 401
        assert not fixture.methods.counters["rpc_requests"]
        answer = await fixture.post(CALL, authorization=f"Bearer {TOKEN}")
        assert answer.status == 200


def test_elsewhere_than_on_loopback_a_token_is_needed() -> None:
    methods = Methods()
    for host in ("0.0.0.0", "::", "192.168.1.1"):
        with pytest.raises(AccessError):
            HttpEndpoint(host, 0, access_with(), methods.counters, http=methods.dispatcher)
        HttpEndpoint(host, 0, access_with(token=TOKEN), methods.counters, http=methods.dispatcher)


@asynchronous
async def test_a_session_over_http_cannot_be_notified() -> None:
    async with listening() as fixture:
        answer = await fixture.post(request("test_subscribe", 1))
        assert json.loads(answer.body)["error"]["message"] == "notifications not supported"
        assert len(fixture.methods.ended) == 1


@asynchronous
async def test_connections_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_SESSIONS", 2)
    waiting = request("test_wait")
    async with listening() as fixture:
        writers = []
        for _ in range(2):
            reader, writer = await fixture.connect()
            writers.append(writer)
            writer.write(head(waiting).replace("\n", "\r\n").encode() + waiting)
        await eventually(lambda: fixture.methods.waiting == 2)
        reader, _ = await fixture.connect()
        assert (await read_answer(reader)).status == 503
        assert fixture.methods.counters["rpc_sessions_refused"] == 1
        writers[0].transport.abort()
        await eventually(lambda: connections(fixture.endpoint) == 1)
        assert (await fixture.post(CALL)).status == 200


@asynchronous
async def test_the_longest_idle_connection_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that has not sent all of its first request."""
    monkeypatch.setattr(http, "MAX_SESSIONS", 2)
    async with listening() as fixture:
        slow, writer = await fixture.connect()
        writer.write(b"POST / HTTP/1.1\r\n")
        used, writer = await fixture.connect()
        writer.write(head(CALL).replace("\n", "\r\n").encode() + CALL)
        assert (await read_answer(used)).status == 200
        assert (await fixture.post(CALL)).status == 200
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await slow.readexactly(1)
        writer.write(head(CALL).replace("\n", "\r\n").encode() + CALL)
        assert (await read_answer(used)).status == 200
        assert fixture.methods.counters["rpc_sessions_evicted"] == 1


@asynchronous
async def test_close_waits_for_calls_in_progress_so_long_and_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounded_server, "HTTP_CLOSE_TIMEOUT", 0.01)
    async with listening() as fixture:
        await fixture.connect()
        task = asyncio.create_task(fixture.post(request("test_wait")))
        await eventually(lambda: fixture.methods.waiting == 1)
        await fixture.endpoint.close()
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await task
        assert fixture.methods.waiting == 0


@asynchronous
async def test_an_address_that_is_taken() -> None:
    async with listening() as fixture:
        methods = Methods()
        host, port = fixture.endpoint.address
        second = HttpEndpoint(host, port, access_with(), methods.counters, http=methods.dispatcher)
        with pytest.raises(OSError, match="address already in use"):
            await second.start()
        assert second._server._runner.server is None, "it is cleaned up"
