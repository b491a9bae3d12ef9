"""A session on a connection: order, bounds, and callers that do not read."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.patience import asynchronous, counted_rounds, eventually
from tests.support.rpc_methods import Methods, notify, request
from wakumail.rpc import stream
from wakumail.rpc.jsonrpc import PARSE_ERROR, RpcError, SharedResult
from wakumail.rpc.stream import MAX_CALLS, MAX_UNREAD_NOTIFICATIONS, StreamSession


class FakeWire:
    """A connection in memory, whose reader a test can stop."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.received = 0
        self.sent: list[Any] = []
        self.on_send: Callable[[], object] = lambda: None
        self.reading = asyncio.Event()
        self.reading.set()
        self.lost = False

    def put(self, *values: bytes | Exception | None) -> None:
        for value in values:
            self.incoming.put_nowait(value)

    async def receive(self) -> bytes | None:
        value = await self.incoming.get()
        self.received += 1
        if isinstance(value, Exception):
            raise value
        return value

    async def send(self, value: bytes) -> None:
        if self.lost:
            raise ConnectionResetError
        await self.reading.wait()
        self.sent.append(json.loads(value))
        self.on_send()


class Fixture:
    """A session on a wire, served in a task."""

    def __init__(self) -> None:
        self.methods = Methods()
        self.wire = FakeWire()
        self.session = StreamSession(self.methods.dispatcher, self.wire, self.methods.counters)
        self.serving = asyncio.create_task(self.session.serve())

    async def results(self, *values: bytes) -> list[Any]:
        """All values that the session sends in answer to `values`."""
        self.wire.put(*values, None)
        await self.serving
        return [answer.get("result") for answer in self.wire.sent]


@asynchronous
async def test_calls_are_answered_until_the_end() -> None:
    fixture = Fixture()
    assert await fixture.results(request("test_echo", 1), request("test_echo", 2)) == [1, 2]
    assert not fixture.session.slow


@asynchronous
async def test_a_slow_call_holds_up_no_other() -> None:
    fixture = Fixture()
    fixture.wire.put(request("test_wait", "late"), request("test_echo", "soon"))
    await eventually(lambda: len(fixture.wire.sent) == 1)
    fixture.methods.gate.set()
    assert await fixture.results() == ["soon", "late"]


@asynchronous
async def test_calls_in_progress_are_answered_after_the_last_message() -> None:
    fixture = Fixture()
    fixture.wire.put(request("test_wait", "late"), None)
    await eventually(lambda: fixture.wire.received == 2)
    fixture.methods.gate.set()
    await fixture.serving
    assert [answer["result"] for answer in fixture.wire.sent] == ["late"]


@asynchronous
async def test_the_calls_of_a_session_have_a_bound() -> None:
    fixture = Fixture()
    notification = b'{"jsonrpc":"2.0","method":"test_wait"}'
    fixture.wire.put(*[request("test_wait")] * (MAX_CALLS - 1), notification)
    fixture.wire.put(*[request("test_echo", 1)] * 3)
    await eventually(lambda: fixture.methods.waiting == MAX_CALLS)
    assert fixture.wire.received == MAX_CALLS + 1  # one waits for room
    fixture.methods.gate.set()
    assert await fixture.results() == [None] * (MAX_CALLS - 1) + [1] * 3


@asynchronous
async def test_answers_that_are_not_read_stop_the_calls() -> None:
    fixture = Fixture()
    fixture.wire.reading.clear()
    fixture.wire.put(*[request("test_note", 1)] * (2 * MAX_CALLS))
    await eventually(lambda: len(fixture.methods.noted) == MAX_CALLS)
    assert fixture.wire.received == MAX_CALLS + 1
    fixture.wire.reading.set()
    assert await fixture.results() == [None] * (2 * MAX_CALLS)


@asynchronous
async def test_a_subscription_is_answered_before_it_notifies() -> None:
    fixture = Fixture()
    fixture.wire.put(request("test_subscribe"), None)
    await fixture.serving
    assert fixture.wire.sent == [{"jsonrpc": "2.0", "id": 1, "result": "1"}]


@asynchronous
async def test_notifications_wait_for_the_answer_of_a_batch() -> None:
    fixture = Fixture()
    subscribe, wait = request("test_subscribe").decode(), request("test_wait").decode()
    fixture.wire.put(f"\n [{subscribe},{wait}]".encode())
    await eventually(lambda: fixture.methods.waiting == 1)
    notify(fixture.session, "a")
    fixture.wire.put(request("test_echo", "b", call_id=7))
    await eventually(lambda: len(fixture.wire.sent) == 1)
    notify(fixture.session, "c")
    fixture.methods.gate.set()
    await eventually(lambda: len(fixture.wire.sent) == 4)
    echo, batch, *notifications = fixture.wire.sent
    assert echo["id"] == 7
    assert [answer["result"] for answer in batch] == ["1", None]
    assert [n["params"]["result"] for n in notifications] == ["a", "c"]
    assert notifications[0] == {
        "jsonrpc": "2.0",
        "method": "test_subscription",
        "params": {"subscription": "1", "result": "a"},
    }
    fixture.wire.put(None)
    await fixture.serving


@asynchronous
async def test_the_end_is_told_once() -> None:
    fixture = Fixture()
    await fixture.results(request("test_subscribe"))
    assert fixture.methods.ended == [fixture.session]
    notify(fixture.session, "too late")
    fixture.session.close()
    assert len(fixture.wire.sent) == 1


@pytest.mark.parametrize("direction", ["receive", "send"])
@asynchronous
async def test_a_connection_that_is_lost_ends_the_session_and_its_calls(direction: str) -> None:
    fixture = Fixture()
    fixture.wire.put(request("test_subscribe"), request("test_wait"))
    await eventually(lambda: fixture.methods.waiting == 1 and len(fixture.wire.sent) == 1)
    if direction == "receive":
        fixture.wire.put(ConnectionResetError())
    else:
        fixture.wire.lost = True
        notify(fixture.session, 1)
    await fixture.serving
    assert fixture.methods.waiting == 0
    assert fixture.methods.ended == [fixture.session]
    assert not fixture.session.slow


@asynchronous
async def test_close_ends_the_session_and_its_calls() -> None:
    fixture = Fixture()
    fixture.wire.reading.clear()
    fixture.wire.put(request("test_subscribe"), request("test_wait"))
    await eventually(lambda: fixture.methods.waiting == 1)
    fixture.session.close()
    fixture.session.close()
    await fixture.serving
    assert fixture.methods.waiting == 0
    assert fixture.methods.ended == [fixture.session]
    assert fixture.methods.counters["rpc_sessions_slow"] == 0


@asynchronous
async def test_what_cannot_be_understood_is_the_last() -> None:
    fixture = Fixture()
    fixture.wire.put(request("test_wait", "due"), RpcError(PARSE_ERROR, "parse error"))
    await eventually(lambda: len(fixture.wire.sent) == 1)
    fixture.methods.gate.set()
    await fixture.serving
    error, due = fixture.wire.sent
    assert error["error"] == {"code": PARSE_ERROR, "message": "parse error"}
    assert error["id"] is None
    assert due["result"] == "due"


@asynchronous
async def test_what_too_many_unread_notifications_leave_no_room_for_is_dropped() -> None:
    fixture = Fixture()
    fixture.wire.reading.clear()
    fixture.wire.put(request("test_subscribe"))
    await eventually(lambda: len(fixture.methods.sessions) == 1)
    message = "x" * (MAX_UNREAD_NOTIFICATIONS // 10)
    for _ in range(9 + 4):
        notify(fixture.session, message)
    assert fixture.methods.counters["rpc_notifications_dropped"] == 4
    fixture.wire.reading.set()
    await eventually(lambda: len(fixture.wire.sent) == 1 + 9)
    notify(fixture.session, message)
    await eventually(lambda: len(fixture.wire.sent) == 1 + 10)
    assert fixture.methods.counters["rpc_sessions_slow"] == 0
    assert not fixture.session.slow


@asynchronous
async def test_what_finds_no_room_is_not_made_into_json() -> None:
    fixture = Fixture()
    fixture.wire.reading.clear()
    fixture.wire.put(request("test_subscribe"))
    await eventually(lambda: len(fixture.methods.sessions) == 1)
    notify(fixture.session, "x" * MAX_UNREAD_NOTIFICATIONS)
    result = SharedResult(100, lambda: pytest.fail("made in vain"))
    fixture.session.notify("test_subscription", "1", result)
    assert fixture.methods.counters["rpc_notifications_dropped"] == 1
    fixture.session.close()
    await fixture.serving


@asynchronous
async def test_notifications_to_one_who_reads_fast_let_others_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The wire never waits, so that without a pause all would be sent in one round of the loop."""
    monkeypatch.setattr("wakumail.base.turns.TURN_TIME", 0.0)
    fixture = Fixture()
    async with counted_rounds() as rounds:
        for _ in range(20):
            notify(fixture.session, 1)
        sent_in: list[int] = []
        fixture.wire.on_send = lambda: sent_in.append(rounds())
        await eventually(lambda: len(sent_in) == 20)
    assert len(set(sent_in)) == 20
    fixture.session.close()
    await fixture.serving


@asynchronous
async def test_a_notification_that_is_over_the_bound_alone_is_sent() -> None:
    fixture = Fixture()
    fixture.wire.reading.clear()
    fixture.wire.put(request("test_subscribe"))
    await eventually(lambda: len(fixture.methods.sessions) == 1)
    for _ in range(2):
        notify(fixture.session, "x" * MAX_UNREAD_NOTIFICATIONS)
    fixture.wire.reading.set()
    await eventually(lambda: len(fixture.wire.sent) == 1 + 1)
    assert fixture.methods.counters["rpc_notifications_dropped"] == 1


@asynchronous
async def test_notifications_that_are_read_are_forgotten() -> None:
    fixture = Fixture()
    message = "x" * (MAX_UNREAD_NOTIFICATIONS // 3)
    for count in range(1, 9):
        notify(fixture.session, message)
        await eventually(lambda count=count: len(fixture.wire.sent) == count)  # type: ignore[misc]
    await fixture.results()
    assert not fixture.session.slow


@asynchronous
async def test_notifications_held_by_a_batch_have_the_same_bound() -> None:
    fixture = Fixture()
    fixture.wire.put(b"[%b]" % request("test_wait"))
    await eventually(lambda: fixture.methods.waiting == 1)
    for _ in range(3):
        notify(fixture.session, "x" * (MAX_UNREAD_NOTIFICATIONS // 3))
    assert fixture.methods.counters["rpc_notifications_dropped"] == 1
    fixture.methods.gate.set()
    await eventually(lambda: len(fixture.wire.sent) == 1 + 2)


@asynchronous
async def test_an_answer_that_is_not_taken_in_time_ends_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "SEND_TIMEOUT", 0.001)
    fixture = Fixture()
    fixture.wire.reading.clear()
    fixture.wire.put(request("test_subscribe"), request("test_wait"))
    await fixture.serving
    assert fixture.session.slow
    assert fixture.methods.waiting == 0
    assert fixture.methods.counters["rpc_sessions_slow"] == 1
    assert fixture.methods.ended == [fixture.session]
