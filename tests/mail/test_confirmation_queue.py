"""Confirmations to a peer that tells limits of packets, and lifts them."""

import asyncio
import itertools
from collections.abc import Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.envelopes import make
from tests.support.exchanges import TOPICS, messages
from tests.support.patience import asynchronous, eventually
from tests.support.puppet import Puppet, mailserver
from tests.support.relaying import change, link_of
from wakumail.base.keccak import keccak256
from wakumail.base.token_bucket import TokenBucket
from wakumail.devp2p.connection_events import Packet
from wakumail.mail.confirmation_queue import MAX_UNSENT, MAX_UNSENT_BYTES, Unsent
from wakumail.node import outbox
from wakumail.waku.confirmations import decode_message_response
from wakumail.waku.packets import Code, RateLimits, StatusOptions

WAITING = 4

RATE, TOLERANCE, SECONDS = 10, 5, 60
"""Packets per second that a status-go node takes, packets beyond them after which it hangs up for
good, and the seconds in which it posts as often."""


@asynchronous
async def test_confirmations_stay_in_order_when_a_limit_is_lifted(tmp_path: Path) -> None:
    """Those that wait for the limit go first, not those of the packets that came after it."""
    options = StatusOptions(
        topic_interest=(),
        packet_rate_limits=RateLimits(0, 1, 0),
        bytes_rate_limits=RateLimits(0, 20, 0),  # the first confirmation delays the next
    )
    none = RateLimits(0, 0, 0)
    unlimited = StatusOptions(packet_rate_limits=none, bytes_rate_limits=none)
    batches = [messages(make(2, TOPICS, seed=seed)) for seed in range(WAITING + 1)]
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode, options=options)

        async def confirmed() -> bytes:
            return decode_message_response(await puppet.packet(Code.MESSAGE_RESPONSE)).batch_hash

        for batch in batches[:WAITING]:
            puppet.send(Code.MESSAGES, batch)
        await eventually(lambda: server.counters["envelopes_archived"] == 2 * WAITING)
        hashes = [await confirmed()]
        await change(puppet, link_of(server, puppet), unlimited)
        puppet.send(Code.MESSAGES, batches[WAITING])
        hashes += [await confirmed() for _ in batches[1:]]
        assert hashes == [keccak256(batch) for batch in batches]
        assert server.counters["messages_confirmed"] == WAITING + 1


def test_what_waits_is_bounded_in_number_and_bytes() -> None:
    """One may always wait: the largest names every envelope of a packet as refused."""
    unsent = Unsent()
    assert [unsent.add(b"small") for _ in range(MAX_UNSENT + 1)] == [True] * MAX_UNSENT + [False]
    while unsent.responses:
        assert unsent.take() == b"small"
    large = bytes(MAX_UNSENT_BYTES)
    assert unsent.add(large + b"and more")
    assert not unsent.add(b"small")
    unsent.take()
    assert unsent.add(large)
    assert not unsent.add(b"small")


class VirtualTime:
    """The clock of one outbox: it stands still until a test moves it."""

    def __init__(self, own: outbox.Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.waiters: list[tuple[float, asyncio.Future[None]]] = []
        loop = asyncio.get_running_loop()
        shown = SimpleNamespace(
            time=lambda: self.now, call_soon=loop.call_soon, call_later=loop.call_later
        )
        monkeypatch.setattr(own, "_loop", shown)
        shown = SimpleNamespace(**vars(asyncio) | {"wait_for": self.wait_for})
        monkeypatch.setattr(outbox, "asyncio", shown)

    async def wait_for(self, gone: Coroutine[Any, Any, Any], delay: float) -> None:
        """Wait for the time only: nobody leaves."""
        gone.close()
        waiter = asyncio.get_running_loop().create_future()
        self.waiters.append((self.now + delay, waiter))
        await waiter
        raise TimeoutError

    def move(self, seconds: float) -> None:
        """Move on, and wake who waited for it."""
        self.now += seconds
        due = [waiter for waiter in self.waiters if waiter[0] <= self.now + 1e-6]
        self.waiters = [waiter for waiter in self.waiters if waiter not in due]
        for _, future in due:
            future.set_result(None)


@asynchronous
async def test_a_node_that_posts_as_often_as_it_takes_packets_keeps_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A status-go node of ten packets a second, which posts ten a second, counts as it does.

    A bucket of one second's packets, which our status takes from already; each packet over it
    counts for ever, and the sixth would end the connection.
    """
    options = StatusOptions(topic_interest=(), packet_rate_limits=RateLimits(0, RATE, 0))
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode, options=options)
        await eventually(lambda: link_of(server, puppet).ready)
        time = VirtualTime(link_of(server, puppet).outbox, monkeypatch)
        bucket = TokenBucket(RATE, RATE, time.now)
        bucket.take(1, time.now)
        posted: list[bytes] = []
        confirmed: list[bytes] = []
        exceeded = 0

        async def take_what_came() -> None:
            nonlocal exceeded
            counters = server.counters
            await eventually(lambda: time.waiters or counters["messages_confirmed"] == len(posted))
            while len(confirmed) < counters["messages_confirmed"]:
                packet = await puppet.until(Packet)
                exceeded += not bucket.take(1, time.now)
                if packet.code == Code.MESSAGE_RESPONSE:
                    confirmed.append(decode_message_response(packet.payload).batch_hash)

        for second in range(SECONDS):
            for number in range(RATE):
                posted.append(messages(make(1, TOPICS, seed=RATE * second + number)))
                puppet.send(Code.MESSAGES, posted[-1])
            await eventually(lambda: server.counters["envelopes_archived"] == len(posted))
            for _ in range(RATE):
                await take_what_came()
                time.move(1 / RATE)
        for _ in range(SECONDS * RATE):
            await take_what_came()
            time.move(1 / RATE)
        assert confirmed == [keccak256(packet) for packet in posted]
        assert exceeded <= TOLERANCE
        assert server.counters["confirmations_unsent"] == 0


@asynchronous
async def test_a_busy_relay_leaves_confirmations_their_turns(tmp_path: Path) -> None:
    """The relay took each packet that the limit allowed, and no confirmation was ever sent."""
    options = StatusOptions(pow=0.0, packet_rate_limits=RateLimits(0, 4, 0))
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode, options=options)
        other = await Puppet.ready(enode, options=StatusOptions(topic_interest=()))

        async def keep_busy() -> None:
            counters = server.counters
            for seed in itertools.count(1000):
                due = counters["packets_relayed"] + 1
                other.send(Code.MESSAGES, messages(make(1, TOPICS, seed=seed)))

                def is_relayed(due: int = due) -> bool:
                    return counters["packets_relayed"] >= due

                await eventually(is_relayed)

        busy = asyncio.create_task(keep_busy())
        await eventually(lambda: server.counters["packets_relayed"] > 4)
        batches = [messages(make(1, TOPICS, seed=seed)) for seed in range(WAITING)]
        for batch in batches:
            puppet.send(Code.MESSAGES, batch)
        confirmed: list[bytes] = []
        while len(confirmed) < WAITING:
            packet = await puppet.until(Packet)
            if packet.code == Code.MESSAGE_RESPONSE:
                confirmed.append(decode_message_response(packet.payload).batch_hash)
        assert confirmed == [keccak256(batch) for batch in batches]
        busy.cancel()
