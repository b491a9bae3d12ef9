"""A server with its API on one transport, and a caller that shares no code with it."""

import asyncio
import itertools
import json
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import websockets

from tests.support.patience import PATIENCE
from tests.support.puppet import mailserver
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import generate
from wakumail.mail.server import Server
from wakumail.rpc.access import Access
from wakumail.rpc.api import NAMESPACES, all_methods
from wakumail.rpc.http import HttpEndpoint
from wakumail.rpc.ipc import IpcEndpoint
from wakumail.rpc.jsonrpc import Dispatcher

STREAMS = ["websocket", "unix"]
TRANSPORTS = ["http", *STREAMS]

over_all = pytest.mark.parametrize("transport", TRANSPORTS)
over_streams = pytest.mark.parametrize("transport", STREAMS)

KEY = generate(os.urandom)
POINT = f"0x{KEY.public_key.format(compressed=False).hex()}"
SYMMETRIC = "0x" + "5a" * 32
TOPIC = "0xffaadd11"
HELLO = "0x68656c6c6f"


def access_with(**chosen: Any) -> Access:
    """The default access, except for what is chosen: localhost, no origins, no token."""
    return Access(**{"vhosts": ("localhost",), "origins": (), "token": None} | chosen)


class Refused(Exception):
    """An answer with an error object."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Caller:
    """Calls methods over HTTP; subclasses use transports with notifications."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)

    async def call(self, method: str, *params: Any) -> Any:
        """The result of a call; Refused if it is an error."""
        request = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        async with asyncio.timeout(PATIENCE):
            answer = await self.exchange(request)
        assert answer["jsonrpc"] == "2.0"
        if "error" in answer:
            assert set(answer) == {"jsonrpc", "id", "error"}
            raise Refused(answer["error"]["code"], answer["error"]["message"])
        assert set(answer) == {"jsonrpc", "id", "result"}
        return answer["result"]

    async def refusal(self, method: str, *params: Any) -> tuple[int, str]:
        """Code and text of the error that a call ends with."""
        with pytest.raises(Refused) as refused:
            await self.call(method, *params)
        return refused.value.code, str(refused.value)

    async def messages(self, filter_id: str, count: int) -> list[dict[str, Any]]:
        """The messages of a filter, when `count` have come."""
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(PATIENCE):
            while len(found) < count:
                found += await self.call("waku_getFilterMessages", filter_id)
        return found

    async def exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request."""
        raise NotImplementedError


class HttpCaller(Caller):
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        super().__init__()
        self._session, self._url = session, url

    async def exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        async with self._session.post(self._url, json=request) as response:
            assert response.status == 200
            answer: dict[str, Any] = json.loads(await response.read())
        assert answer["id"] == request["id"]
        return answer


class StreamCaller(Caller):
    """A connection; notifications that come between answers are kept for `notification`."""

    def __init__(self) -> None:
        super().__init__()
        self.notifications: deque[dict[str, Any]] = deque()

    async def exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        await self.send(json.dumps(request))
        while "id" not in (value := json.loads(await self.receive())):
            self.notifications.append(value)
        assert value["id"] == request["id"]
        return dict(value)

    async def notification(self) -> dict[str, Any]:
        """The params of the next notification of a subscription."""
        if not self.notifications:
            async with asyncio.timeout(PATIENCE):
                self.notifications.append(json.loads(await self.receive()))
        value = self.notifications.popleft()
        assert set(value) == {"jsonrpc", "method", "params"}
        assert (value["jsonrpc"], value["method"]) == ("2.0", "waku_subscription")
        return dict(value["params"])

    async def send(self, text: str) -> None:
        raise NotImplementedError

    async def receive(self) -> str | bytes:
        raise NotImplementedError


class WebSocketCaller(StreamCaller):
    def __init__(self, socket: websockets.ClientConnection) -> None:
        super().__init__()
        self._socket = socket

    async def send(self, text: str) -> None:
        await self._socket.send(text)

    async def receive(self) -> str | bytes:
        return await self._socket.recv()


class UnixCaller(StreamCaller):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__()
        self._reader, self._writer = reader, writer

    async def send(self, text: str) -> None:
        self._writer.write(text.encode())

    async def receive(self) -> str | bytes:
        return await self._reader.readline()


@asynccontextmanager
async def api(server: Server, transport: str, directory: Path) -> AsyncIterator[Caller]:
    """All methods of `server` on one transport, and a caller there; Unix sockets in `directory`."""
    dispatcher = Dispatcher(all_methods(server, NAMESPACES), NAMESPACES, server.counters)
    if transport == "unix":
        path = directory / "wakumail.ipc"
        unix = IpcEndpoint(path, dispatcher, server.counters)
        await unix.start()
        reader, writer = await asyncio.open_unix_connection(path, limit=1 << 24)
        try:
            yield UnixCaller(reader, writer)
        finally:
            writer.close()
            await unix.close()
            await writer.wait_closed()
        return
    offered = {transport: dispatcher}
    tcp = HttpEndpoint("127.0.0.1", 0, access_with(), server.counters, **offered)
    await tcp.start()
    host, port = tcp.address
    try:
        if transport == "http":
            async with aiohttp.ClientSession() as session:
                yield HttpCaller(session, f"http://{host}:{port}")
        else:
            async with websockets.connect(f"ws://{host}:{port}") as socket:
                yield WebSocketCaller(socket)
    finally:
        await tcp.close()


@asynccontextmanager
async def node(
    directory: Path, transport: str, **choices: Any
) -> AsyncIterator[tuple[Server, Enode, Any]]:
    """A mailserver, its enode, and a caller of its API."""
    directory.mkdir(exist_ok=True)  # noqa: ASYNC240 - takes no time
    async with (
        mailserver(directory, **choices) as (server, enode),
        api(server, transport, directory) as caller,
    ):
        yield server, enode, caller
