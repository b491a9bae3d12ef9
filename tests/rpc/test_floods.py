"""Floods at the API: unread and abandoned data is bounded, and peers are served."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.exchanges import messages
from tests.support.filter_rig import KEY
from tests.support.hostile import TTL, Hostile, Served
from tests.support.patience import asynchronous, eventually
from tests.support.puppet import Mailserver, mailserver
from tests.support.rpc_callers import TOPIC, UnixCaller, access_with
from wakumail.counters import Counters
from wakumail.devp2p.enode import Enode
from wakumail.node.filters import MAX_FILTERS, MAX_UNPOLLED_BYTES
from wakumail.node.messages import MESSAGE_COST
from wakumail.rpc.api import NAMESPACES, all_methods
from wakumail.rpc.http import HttpEndpoint
from wakumail.rpc.ipc import IpcEndpoint
from wakumail.rpc.jsonrpc import MAX_MESSAGE, SERVER, Dispatcher
from wakumail.rpc.stream import MAX_UNREAD_NOTIFICATIONS
from wakumail.waku.envelope import make_envelope
from wakumail.waku.message import seal

SIZE = 20_000
"""Bytes of each message's payload."""

CHUNK = 1 << 20
HUGE = b"%x\r\n%b\r\n" % (CHUNK, bytes(CHUNK)) * (MAX_MESSAGE // CHUNK + 1)
"""Chunks of a body that is over the bound."""


class Api:
    """The Unix socket and the HTTP address of a server, and callers there."""

    def __init__(self, server: Mailserver, directory: Path) -> None:
        self.counters: Counters = server.counters
        dispatcher = Dispatcher(all_methods(server, NAMESPACES), NAMESPACES, server.counters)
        self._path = directory / "ipc"
        self._unix = IpcEndpoint(self._path, dispatcher, server.counters)
        self._http = HttpEndpoint("127.0.0.1", 0, access_with(), server.counters, http=dispatcher)
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        await self._unix.start()
        await self._http.start()

    async def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await self._http.close()
        await self._unix.close()

    async def connect(self) -> "Quick":
        reader, writer = await asyncio.open_unix_connection(self._path, limit=1 << 26)
        self._writers.append(writer)
        return Quick(reader, writer)

    async def post(self, head: str, body: bytes) -> asyncio.StreamReader:
        """Start a request over HTTP."""
        host, port = self._http.address
        reader, writer = await asyncio.open_connection(host, port)
        self._writers.append(writer)
        start = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{head}"
        writer.write(f"{start}\r\n\r\n".encode() + body)
        return reader


class Quick(UnixCaller):
    """A caller that makes many calls at once, and may stop reading."""

    async def batch(self, method: str, *params: Any, count: int) -> list[dict[str, Any]]:
        """The answers to `count` equal calls."""
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        await self.send(json.dumps([call] * count))
        answers = json.loads(await self.receive())
        assert isinstance(answers, list)
        return answers

    def deaf(self) -> None:
        """Read nothing more."""
        transport: Any = self._writer.transport
        transport.pause_reading()

    async def hear_one(self) -> None:
        """Read one notification, and a few more, then nothing."""
        transport: Any = self._writer.transport
        transport.resume_reading()
        await self.notification()
        transport.pause_reading()

    def hang_up(self) -> None:
        self._writer.transport.abort()


@asynccontextmanager
async def offered(directory: Path) -> AsyncIterator[tuple[Mailserver, Enode, Api]]:
    async with mailserver(directory) as (server, enode), AsyncExitStack() as stack:
        api = Api(server, directory)
        await api.start()
        stack.push_async_callback(api.close)
        yield server, enode, api


def sealed(count: int, *, first: int = 0, size: int = SIZE) -> list[bytes]:
    """Packets of one message each, under KEY and on TOPIC."""
    expiry = int(time.time()) + TTL
    topic = bytes.fromhex(TOPIC[2:])
    packets = []
    for number in range(first, first + count):
        data = seal(bytes(size), key=KEY, random=os.urandom)
        packets.append(messages([make_envelope(expiry, TTL, topic, data, number)]))
    return packets


async def criteria(caller: Quick) -> dict[str, Any]:
    """A filter for the messages of `sealed`."""
    key = await caller.call("waku_addSymKey", f"0x{KEY.hex()}")
    return {"symKeyID": key, "topics": [TOPIC]}


@asynchronous
async def test_thousands_of_filters_and_subscriptions(tmp_path: Path) -> None:
    full = {"code": SERVER, "message": f"there are {MAX_FILTERS} filters"}
    async with offered(tmp_path) as (server, enode, api):
        served = await Served.connect(enode)
        callers = [await api.connect() for _ in range(4)]
        wanted = await criteria(callers[0])
        answers: list[dict[str, Any]] = []
        for caller in callers:
            answers += await caller.batch("waku_subscribe", "messages", wanted, count=500)
            answers += await caller.batch("waku_newMessageFilter", wanted, count=500)
        assert sum("result" in answer for answer in answers) == MAX_FILTERS
        refused = [answer["error"] for answer in answers if "error" in answer]
        assert refused == [full] * (4000 - MAX_FILTERS)
        await served.during((await Hostile.enter(enode)).pour(sealed(3, size=10)))
        await eventually(lambda: server.counters["messages_opened"] == 3 * MAX_FILTERS)
        for caller in callers:
            caller.hang_up()
        await eventually(lambda: len(server.filters._installed) == MAX_FILTERS // 2)
        staying = await api.connect()
        answers = await staying.batch("waku_newMessageFilter", wanted, count=MAX_FILTERS)
        assert sum("result" in answer for answer in answers) == MAX_FILTERS // 2


@asynchronous
async def test_a_subscriber_that_never_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with offered(tmp_path) as (server, enode, api):
        served = await Served.connect(enode)
        deaf, reader = await api.connect(), await api.connect()
        wanted = await criteria(reader)
        for caller in (deaf, reader):
            await caller.call("waku_subscribe", "messages", wanted)
        deaf.deaf()
        hostile = await Hostile.enter(enode)
        count = 2 * MAX_UNREAD_NOTIFICATIONS // (2 * SIZE)
        flood = asyncio.ensure_future(served.during(hostile.pour(sealed(count))))
        hashes = {(await reader.notification())["result"]["hash"] for _ in range(count)}
        await flood
        assert len(hashes) == count
        monkeypatch.setattr("wakumail.rpc.stream.SEND_TIMEOUT", 0.05)  # of what is sent from now on
        await deaf.hear_one()
        await eventually(lambda: server.counters["rpc_sessions_slow"] == 1)
        await eventually(lambda: len(server.filters._installed) == 1)


@asynchronous
async def test_a_subscriber_that_reads_is_not_slow(tmp_path: Path) -> None:
    """Even if one packet has many messages for it."""
    async with offered(tmp_path) as (server, enode, api):
        reader = await api.connect()
        await reader.call("waku_subscribe", "messages", await criteria(reader))
        expiry, topic = int(time.time()) + TTL, bytes.fromhex(TOPIC[2:])
        large = [
            make_envelope(
                expiry, TTL, topic, seal(bytes(300_000), key=KEY, random=os.urandom), number
            )
            for number in range(26)
        ]
        await (await Hostile.enter(enode)).pour([messages(large)])
        for _ in large:
            await reader.notification()
        assert server.counters["rpc_sessions_slow"] == 0
        assert server.counters["rpc_notifications_dropped"] == 0


@asynchronous
async def test_a_filter_that_is_never_polled(tmp_path: Path) -> None:
    async with offered(tmp_path) as (server, enode, api):
        served = await Served.connect(enode)
        caller = await api.connect()
        wanted = await criteria(caller)
        forgotten = await caller.call("waku_newMessageFilter", wanted)
        polled = await caller.call("waku_newMessageFilter", wanted)
        hostile = await Hostile.enter(enode)
        part = MAX_UNPOLLED_BYTES // (MESSAGE_COST + 4 * SIZE)
        for number in range(3):
            packets = sealed(part, first=number * part)
            await served.during(hostile.pour(packets))
            assert len(await caller.messages(polled, part)) == part
        kept = len(await caller.call("waku_getFilterMessages", forgotten))
        assert part <= kept < 2 * part
        assert kept * (MESSAGE_COST + 3 * SIZE) <= MAX_UNPOLLED_BYTES
        assert server.counters["filters_overflowed"] == 3 * part - kept
        assert server.filters._waiting_bytes == 0


@asynchronous
async def test_many_slow_and_huge_bodies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with offered(tmp_path) as (_, enode, api):
        served = await Served.connect(enode)
        huge = [await api.post("Transfer-Encoding: chunked", HUGE) for _ in range(6)]
        await served.check()
        monkeypatch.setattr("wakumail.rpc.http.BODY_TIMEOUT", 1.0)  # of those that follow
        slow = [await api.post(f"Content-Length: {MAX_MESSAGE}", b"[") for _ in range(60)]
        caller = await api.connect()
        await served.check()
        assert await caller.call("waku_version") == "1"
        for readers, status in ((slow, b"408"), (huge, b"413")):
            for reader in readers:
                assert (await reader.readline()).split()[1] == status
