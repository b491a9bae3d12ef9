"""Filters come and go, and the messages that wait for them are bounded."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import pytest

from tests.support.filter_rig import KEY, OTHER, RECEIVER, TOPIC, Gate, payloads, rig, sealed
from tests.support.patience import asynchronous, counted_rounds, eventually
from wakumail.base.rlp import join_list
from wakumail.counters import Counters
from wakumail.node import filters as filters_module
from wakumail.node.filters import (
    MAX_FILTER_TOPICS,
    MAX_FILTERS,
    POLL_TIMEOUT,
    SLICE_BYTES,
    SLICE_ENVELOPES,
    Filter,
    Filters,
    FiltersFull,
    FilterUnknown,
    _open_some,
    _Table,
)
from wakumail.node.messages import ReceivedMessage
from wakumail.waku.envelope import make_envelope, parse
from wakumail.waku.interest import EVERYTHING, Interest

# -- coming and going -----------------------------------------------------------------------------


@asynchronous
async def test_ids() -> None:
    async with rig() as it:
        polled = it.install(TOPIC)
        told = it.filters.install(Filter((TOPIC,), KEY), lambda _: None)
        assert len({polled, told}) == 2
        assert all(len(bytes.fromhex(each)) == 32 for each in (polled, told))
        for unknown in (told, "", "00" * 32):
            with pytest.raises(FilterUnknown):
                it.filters.poll(unknown)
        assert it.filters.uninstall(polled)
        assert not it.filters.uninstall(polled)
        assert it.filters.uninstall(told)
        with pytest.raises(FilterUnknown, match=polled):
            it.filters.poll(polled)


@asynchronous
async def test_who_goes_is_told_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    gate.free.clear()
    async with rig() as it:
        told: list[ReceivedMessage] = []
        goer = it.filters.install(Filter((TOPIC,), KEY), told.append)
        stays = it.install(TOPIC)
        it.offer(sealed())
        await eventually(lambda: len(gate.calls) == 1)
        it.filters.uninstall(goer)
        gate.free.set()
        assert await it.poll(stays) == [b"payload"]
        assert told == []


@asynchronous
async def test_a_callback_may_uninstall() -> None:
    async with rig() as it:
        told: list[bytes] = []

        def once(message: ReceivedMessage) -> None:
            told.append(message.payload)
            it.filters.uninstall(own)

        own = it.filters.install(Filter((TOPIC,), KEY), once)
        it.offer(sealed(b"1"), sealed(b"2"))
        await it.through()
        assert told == [b"1"]


@asynchronous
async def test_subscribers_are_told_in_many_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message is told all of them; one who goes between two of the rounds is not told."""
    monkeypatch.setattr("wakumail.base.turns.TURN_TIME", 0.0)
    async with rig() as it, counted_rounds() as rounds:
        told: list[tuple[int, bytes]] = []
        told_in: list[int] = []

        def tell(own: int, message: ReceivedMessage) -> None:
            told.append((own, message.payload))
            told_in.append(rounds())
            if len(told) == 1:
                asyncio.get_running_loop().call_soon(it.filters.uninstall, ids[7])

        wanted = Filter((TOPIC,), KEY)
        ids = [it.filters.install(wanted, partial(tell, own)) for own in range(10)]
        it.offer(sealed(b"1"), sealed(b"2"))
        await it.through()
    assert told == [(own, each) for each in (b"1", b"2") for own in range(10) if own != 7]
    assert len(set(told_in)) == len(told_in)


@asynchronous
async def test_interest() -> None:
    async with rig() as it:
        assert it.filters.interest is None
        first = it.install(TOPIC, OTHER)
        it.install(TOPIC, b"1234")
        assert it.filters.interest == Interest(topics=[TOPIC, OTHER, b"1234"])
        it.filters.uninstall(first)
        assert it.filters.interest == Interest(topics=[TOPIC, b"1234"])
        partial = it.install(TOPIC, b"ab")
        assert it.filters.interest == EVERYTHING
        it.filters.uninstall(partial)
        assert it.filters.interest != EVERYTHING
        it.install(key=RECEIVER)
        assert it.filters.interest == EVERYTHING


@asynchronous
async def test_closing_forgets_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    gate.free.clear()
    told: list[ReceivedMessage] = []
    async with rig() as it:
        it.filters.install(Filter((TOPIC,), KEY), told.append)
        for _ in range(100):
            it.offer(sealed())
        await eventually(lambda: len(gate.calls) == 1)
        asyncio.get_running_loop().call_soon(gate.free.set)
    assert told == []
    assert len(gate.calls) == 1
    it.offer(sealed())  # there is no filter any more
    assert it.filters.interest is None


# -- bounds ---------------------------------------------------------------------------------------


@asynchronous
async def test_a_full_queue_sheds(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    gate.free.clear()
    async with rig() as it:
        filter_id = it.install(TOPIC)
        monkeypatch.setattr(filters_module, "MAX_UNOPENED_BYTES", 10_000)
        large = sealed(b"0" + bytes(50_000))
        it.offer(large)  # one batch over the bound is taken alone
        it.offer(sealed(b"1"), sealed(b"2"), sealed(topic=OTHER))
        assert it.counters["filters_overloaded"] == 2
        gate.free.set()
        kept: list[bytes] = []

        def kept_all(count: int) -> bool:
            kept.extend(payloads(it.filters.poll(filter_id)))
            return len(kept) == count

        await eventually(lambda: kept_all(1))
        gate.free.clear()
        offered = 0
        while it.counters["filters_overloaded"] == 2:
            it.offer(sealed(b"%d" % offered))
            offered += 1
        assert 3 < offered < 10
        gate.free.set()
        await eventually(lambda: kept_all(offered))
        assert kept[1:] == [b"%d" % number for number in range(offered - 1)]


def room(count: int) -> int:
    """Bytes of memory of `count` messages as `sealed` makes them."""
    return count * ReceivedMessage(sealed(b"0"), b"", b"", None, None).cost


@asynchronous
async def test_the_messages_that_wait_for_one_filter_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(filters_module, "MAX_UNPOLLED_BYTES", room(3))
    async with rig() as it:
        first, second = it.install(TOPIC), it.install(TOPIC, OTHER)
        envelopes = [sealed(bytes([number])) for number in range(5)]
        it.offer(*envelopes)
        assert await it.poll(first) == [b"\0", b"\1", b"\2"]
        assert it.counters["filters_overflowed"] == 4
        it.offer(*envelopes[1:])  # dropped messages may come again, others do not
        assert await it.poll(first) == [b"\3", b"\4"]
        assert await it.poll(second) == [b"\0", b"\1", b"\2"]
        assert it.counters["filters_overflowed"] == 6


@asynchronous
async def test_the_messages_that_wait_for_all_filters_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(filters_module, "MAX_UNPOLLED_BYTES_OF_ALL", room(3))
    async with rig() as it:
        first, second, third = it.install(TOPIC), it.install(OTHER), it.install(TOPIC, OTHER)
        it.offer(sealed(b"1"), sealed(b"2", topic=OTHER))
        assert await it.poll(first) == [b"1"]
        assert it.counters["filters_overflowed"] == 1
        it.offer(sealed(b"3"), sealed(b"4"))
        assert await it.poll(first) == [b"3"]
        it.filters.uninstall(third)
        assert await it.poll(second) == [b"2"]
        for number in range(3):
            it.offer(sealed(bytes([number])))
        assert await it.poll(first) == [b"\0", b"\1", b"\2"]


@asynchronous
async def test_as_many_filters_as_there_may_be() -> None:
    async with rig() as it:
        ids = [it.install(TOPIC) for _ in range(MAX_FILTERS)]
        with pytest.raises(FiltersFull, match=str(MAX_FILTERS)):
            it.install(TOPIC)
        it.filters.uninstall(ids[0])
        it.install(TOPIC)


@asynchronous
async def test_as_many_topics_as_there_may_be() -> None:
    async with rig() as it:
        topics = [number.to_bytes(4) for number in range(MAX_FILTER_TOPICS)]
        half = it.install(*topics[:100])
        it.install(*topics[100:])
        with pytest.raises(FiltersFull, match="10000 topics"):
            it.install(TOPIC)
        it.filters.install(Filter((), RECEIVER))
        it.filters.uninstall(half)
        it.install(TOPIC)


class Clock:
    """An event loop with a time that the test sets, and one timer."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Callable[..., None], tuple[Any, ...], mock.Mock]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, due: float, call: Callable[..., None], *arguments: Any) -> mock.Mock:
        self.due.append((due, call, arguments, mock.Mock(cancelled=False)))
        return self.due[-1][3]

    def run_until(self, now: float) -> None:
        while self.due and self.due[0][0] <= now:
            self.now, call, arguments, _ = self.due.pop(0)
            call(*arguments)
        self.now = now


def test_who_does_not_poll_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: clock)
    filters = Filters(Counters())
    idle = filters.install(Filter((TOPIC,), KEY))
    clock.run_until(1.0)
    polled = filters.install(Filter((TOPIC,), KEY))
    told = filters.install(Filter((TOPIC,), KEY), lambda _: None)
    clock.run_until(POLL_TIMEOUT - 1)
    assert filters.poll(polled) == []
    clock.run_until(POLL_TIMEOUT + 2)
    with pytest.raises(FilterUnknown):
        filters.poll(idle)
    clock.run_until(2 * POLL_TIMEOUT - 1.5)
    assert filters.poll(polled) == []
    clock.run_until(10 * POLL_TIMEOUT)
    with pytest.raises(FilterUnknown):
        filters.poll(polled)
    assert clock.due == []
    assert filters.uninstall(told)
    leaving = filters.install(Filter((TOPIC,), KEY))
    timer = clock.due[0][3]
    filters.uninstall(leaving)
    timer.cancel.assert_called_once()


@pytest.mark.parametrize(
    ("size", "count"),
    [(0, SLICE_ENVELOPES), (SLICE_BYTES // 3, 3), (SLICE_BYTES // 2, 2), (SLICE_BYTES, 1)],
)
def test_a_slice_has_a_bound_in_envelopes_and_in_bytes(size: int, count: int) -> None:
    """At least one envelope is opened, however large."""
    envelope = make_envelope(2**32 - 1, 60, TOPIC, bytes(size + 1), 0)
    batch = parse(join_list([envelope.rlp] * 40))
    left = deque(range(40))
    assert _open_some(_Table([]), batch, left, False) == []
    assert left == deque(range(count, 40))
