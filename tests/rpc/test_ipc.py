"""JSON-RPC over a Unix socket: its permissions, other files in its place, streams of values."""

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import asynchronous, eventually
from tests.support.rpc_methods import Methods, notify, request
from wakumail.rpc import ipc
from wakumail.rpc.ipc import MAX_PATH, IpcEndpoint, IpcError
from wakumail.rpc.jsonrpc import INVALID_REQUEST, MAX_MESSAGE, PARSE_ERROR
from wakumail.rpc.stream import MAX_UNREAD_NOTIFICATIONS

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Fixture:
    """An endpoint, its methods, and callers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.methods = Methods()
        self.endpoint = IpcEndpoint(path, self.methods.dispatcher, self.methods.counters)
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> Streams:
        reader, writer = await asyncio.open_unix_connection(self.path, limit=2 * MAX_MESSAGE)
        self._writers.append(writer)
        return reader, writer

    async def exchange(self, *pieces: bytes) -> list[Any]:
        """The answers to some bytes, until both directions have ended."""
        reader, writer = await self.connect()
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        writer.write_eof()
        return [json.loads(line) async for line in reader]

    async def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await self.endpoint.close()


@asynccontextmanager
async def listening(directory: Path) -> AsyncIterator[Fixture]:
    fixture = Fixture(directory / "wakumail.ipc")
    await fixture.endpoint.start()
    try:
        yield fixture
    finally:
        await fixture.close()


def pause(reader: asyncio.StreamReader, paused: bool = True) -> None:
    """Stop or resume reading from the socket."""
    transport = reader._transport  # type: ignore[attr-defined]
    transport.pause_reading() if paused else transport.resume_reading()


def leave_stale_socket(path: Path) -> None:
    """Leave a socket like that of a killed process."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))


@asynchronous
async def test_values_come_one_after_the_other(tmp_path: Path) -> None:
    first, second = request("test_echo", 1), request("test_echo", [{}], call_id="b")
    batch = b"[%b]" % request("test_echo", 3)
    async with listening(tmp_path) as fixture:
        for space in (b"", b" ", b"\n", b"\r\n\r\n"):
            answers = await fixture.exchange(space.join([first, second, batch]))
            assert [a[0] if isinstance(a, list) else a for a in answers] == [
                {"jsonrpc": "2.0", "id": 1, "result": 1},
                {"jsonrpc": "2.0", "id": "b", "result": [{}]},
                {"jsonrpc": "2.0", "id": 1, "result": 3},
            ]


@asynchronous
async def test_values_come_in_pieces(tmp_path: Path) -> None:
    raw = request("test_echo", 'a "}" b') * 2
    async with listening(tmp_path) as fixture:
        answers = await fixture.exchange(*[raw[at : at + 1] for at in range(len(raw))])
        assert [answer["result"] for answer in answers] == ['a "}" b'] * 2


@asynchronous
async def test_a_notification_is_not_answered(tmp_path: Path) -> None:
    async with listening(tmp_path) as fixture:
        answers = await fixture.exchange(b'{"jsonrpc":"2.0","method":"test_note"}{}')
        assert [answer["error"]["code"] for answer in answers] == [INVALID_REQUEST]


@pytest.mark.parametrize("garbage", [b"}", b"GET / HTTP/1.1\r\n\r\n", b"\x00", b"\xff\xfe"])
@asynchronous
async def test_garbage_is_answered_and_ends_the_session(tmp_path: Path, garbage: bytes) -> None:
    async with listening(tmp_path) as fixture:
        reader, writer = await fixture.connect()
        writer.write(request("test_echo", 1) + garbage + request("test_note"))
        answers = [json.loads(line) async for line in reader]
        # Calls that were read before it are answered, in any order.
        assert {answer["id"] for answer in answers} == {1, None}
        codes = [answer["error"]["code"] for answer in answers if "error" in answer]
        assert codes == [PARSE_ERROR]
        assert not fixture.methods.noted


@pytest.mark.parametrize("value", [b'{"a" 1}', b"[}", b"nul", b"1e999"])
@asynchronous
async def test_what_is_no_json_inside_is_answered(tmp_path: Path, value: bytes) -> None:
    async with listening(tmp_path) as fixture:
        answers = await fixture.exchange(value + b"\n" + request("test_echo", 1))
        assert [answer.get("error", {}).get("code") for answer in answers] == [PARSE_ERROR, None]


@asynchronous
async def test_what_is_cut_off_is_answered(tmp_path: Path) -> None:
    async with listening(tmp_path) as fixture:
        answers = await fixture.exchange(request("test_echo", 1)[:-1])
        assert [answer["error"]["code"] for answer in answers] == [PARSE_ERROR]


@asynchronous
async def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    async with listening(tmp_path) as fixture:
        answers = await fixture.exchange(b"[" * 100_000 + b"]" * 100_000)
        assert [answer["error"]["code"] for answer in answers] == [PARSE_ERROR]


@asynchronous
async def test_a_message_has_a_bound(tmp_path: Path) -> None:
    async with listening(tmp_path) as fixture:
        envelope = len(request("test_echo", ""))
        largest = request("test_echo", "x" * (MAX_MESSAGE - envelope))
        assert len(largest) == MAX_MESSAGE
        assert len((await fixture.exchange(largest))[0]["result"]) == MAX_MESSAGE - envelope
        reader, writer = await fixture.connect()
        writer.write(b'"' + b"x" * MAX_MESSAGE)
        assert json.loads(await reader.readline())["error"]["code"] == INVALID_REQUEST


@asynchronous
async def test_a_subscription_notifies_until_the_caller_leaves(tmp_path: Path) -> None:
    async with listening(tmp_path) as fixture:
        reader, writer = await fixture.connect()
        writer.write(request("test_subscribe"))
        assert json.loads(await reader.readline())["result"] == "1"
        notify(fixture.methods.sessions[0], "\n")
        assert json.loads(await reader.readline()) == {
            "jsonrpc": "2.0",
            "method": "test_subscription",
            "params": {"subscription": "1", "result": "\n"},
        }
        writer.close()
        await eventually(lambda: len(fixture.methods.ended) == 1)


@asynchronous
async def test_a_caller_that_does_not_read_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wakumail.rpc.stream.SEND_TIMEOUT", 0.1)
    async with listening(tmp_path) as fixture:
        reader, writer = await fixture.connect()
        pause(reader)
        writer.write(request("test_subscribe"))
        await eventually(lambda: len(fixture.methods.sessions) == 1)
        # Some of it fits into the socket's buffers.
        for _ in range(20):
            notify(fixture.methods.sessions[0], "x" * (MAX_UNREAD_NOTIFICATIONS // 10))
            await asyncio.sleep(0)
        await eventually(lambda: len(fixture.methods.ended) == 1)
        assert fixture.methods.counters["rpc_sessions_slow"] == 1
        pause(reader, False)
        with pytest.raises((ConnectionResetError, EOFError)):
            await reader.readexactly(3 * MAX_UNREAD_NOTIFICATIONS)


@asynchronous
async def test_a_caller_that_leaves_its_last_answer_unread_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def drain(self: asyncio.StreamWriter) -> None:
        """Read everything into memory."""

    monkeypatch.setattr(ipc, "IPC_CLOSE_TIMEOUT", 0.01)
    monkeypatch.setattr(asyncio.StreamWriter, "drain", drain)
    async with listening(tmp_path) as fixture:
        reader, writer = await fixture.connect()
        pause(reader)
        for _ in range(100):
            writer.write(request("test_size", 10_000))
        writer.write_eof()
        await eventually(lambda: fixture.methods.counters["rpc_requests"] == 100)
        await eventually(lambda: not fixture.endpoint._sessions)


@asynchronous
async def test_sessions_have_a_bound(tmp_path: Path) -> None:
    async with listening(tmp_path) as fixture:
        fixture.endpoint.max_callers = 2
        streams = [await fixture.connect() for _ in range(2)]
        for _, writer in streams:
            writer.write(request("test_wait"))
        await eventually(lambda: fixture.methods.waiting == 2)
        reader, _ = await fixture.connect()
        assert await reader.read() == b""
        assert fixture.methods.counters["rpc_sessions_refused"] == 1
        fixture.methods.gate.set()
        await eventually(lambda: fixture.methods.waiting == 0)
        assert len(await fixture.exchange(request("test_echo", 1))) == 1


@asynchronous
async def test_the_longest_idle_session_makes_room(tmp_path: Path) -> None:
    """Those with a subscription are the last to go."""
    async with listening(tmp_path) as fixture:
        fixture.endpoint.max_callers = 3
        subscribed, first, second = [await fixture.connect() for _ in range(3)]
        for (reader, writer), method in (
            (subscribed, "test_subscribe"),
            (second, "test_echo"),
            (first, "test_echo"),
        ):
            writer.write(request(method, 1))
            await reader.readline()
        third, fourth = await fixture.connect(), await fixture.connect()
        assert await second[0].read() == b""
        assert await first[0].read() == b""
        for reader, writer in (third, fourth, subscribed):
            writer.write(request("test_echo", 1))
            assert await reader.readline()
        assert fixture.methods.counters["rpc_sessions_evicted"] == 2
        assert fixture.methods.counters["rpc_sessions_refused"] == 0


@asynchronous
async def test_who_makes_room_within_a_value_ends_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The refusal of the cut value found the transport closed, and left a traceback in the log."""
    async with listening(tmp_path) as fixture:
        fixture.endpoint.max_callers = 1
        cut, cut_writer = await fixture.connect()
        cut_writer.write(request("test_echo", 1) + b'{"a')
        assert await cut.readline()
        reader, writer = await fixture.connect()
        assert await cut.read() == b""
        writer.write(request("test_echo", 1))
        assert await reader.readline()
    assert not caplog.records


@asynchronous
async def test_only_the_owner_can_open_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        bound = ipc.bind(tmp_path / "bound")
        async with listening(tmp_path) as fixture:
            for path in (fixture.path, tmp_path / "bound"):
                assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        bound.close()
    finally:
        os.umask(before)


@asynchronous
async def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    leave_stale_socket(tmp_path / "wakumail.ipc")
    async with listening(tmp_path) as fixture:
        assert len(await fixture.exchange(request("test_echo", 1))) == 1


@asynchronous
async def test_a_socket_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    async with listening(tmp_path) as fixture:
        with pytest.raises(IpcError, match="in use"):
            await Fixture(fixture.path).endpoint.start()
        assert len(await fixture.exchange(request("test_echo", 1))) == 1


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "wakumail.ipc"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    before = path.lstat()
    with pytest.raises(IpcError, match="not a socket"):
        ipc.bind(path)
    assert path.lstat() == before


def test_a_path_has_a_bound(tmp_path: Path) -> None:
    longest = tmp_path / ("x" * (MAX_PATH - len(bytes(tmp_path)) - 1))
    ipc.bind(longest).close()
    with pytest.raises(IpcError, match="107 bytes"):
        ipc.bind(tmp_path / f"{longest.name}x")


def test_a_directory_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(IpcError, match="No such file"):
        ipc.bind(tmp_path / "none" / "wakumail.ipc")


@asynchronous
async def test_close_ends_sessions_and_removes_the_socket(tmp_path: Path) -> None:
    async with listening(tmp_path) as fixture:
        reader, writer = await fixture.connect()
        writer.write(request("test_subscribe") + request("test_wait"))
        await eventually(lambda: fixture.methods.waiting == 1)
        await fixture.endpoint.close()
        assert fixture.methods.waiting == 0
        assert len(fixture.methods.ended) == 1
        assert len((await reader.read()).splitlines()) <= 1
        assert not fixture.path.exists()


@asynchronous
async def test_close_leaves_the_socket_of_another_alone(tmp_path: Path) -> None:
    async with listening(tmp_path) as fixture:
        fixture.path.unlink()
        leave_stale_socket(fixture.path)
        await fixture.endpoint.close()
        assert fixture.path.exists()
