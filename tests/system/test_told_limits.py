"""Packets of our own keep to the rate limits that a peer told (6/WAKU1)."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.envelopes import make
from tests.support.exchanges import TOPICS, messages, post
from tests.support.patience import PATIENCE, asynchronous, eventually
from tests.support.puppet import Mailserver, Puppet, mailserver
from tests.support.relaying import change, link_of
from wakumail.counters import Counters
from wakumail.devp2p.connection_events import Packet
from wakumail.devp2p.keys import generate
from wakumail.errors import PeerLimited
from wakumail.mail import posting
from wakumail.mail.answer import Wanted
from wakumail.mail.client import connect
from wakumail.node import outbox, relay
from wakumail.ops import assembly
from wakumail.ops.config.settings import Settings
from wakumail.waku.packets import Code, RateLimits, StatusOptions, WakuDialect

RATE = 5
AHEAD, ENOUGH = 5, 5
"""Packets of each kind that are asked for at a time, and in all."""
OPTIONS = StatusOptions(topic_interest=(), packet_rate_limits=RateLimits(0, RATE, 0))
ENVELOPE = make(1, TOPICS)[0].rlp


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers wait for as long as a slow machine takes."""
    monkeypatch.setattr(outbox, "MAX_WAIT", PATIENCE)


class Bucket:
    """The count of a peer: what its rate allows, beginning with our status."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._since = time.monotonic()
        self.count = 1

    def take(self, amount: int = 1) -> None:
        """Take what a packet costs. A slow machine only allows more."""
        self.count += amount
        assert self.count <= self._rate * (1 + time.monotonic() - self._since)


def direct(server: Mailserver, puppet: Puppet) -> Any:
    return server.send_direct(link_of(server, puppet).node_id, ENVELOPE)


def request(server: Mailserver, puppet: Puppet) -> Any:
    link = link_of(server, puppet)
    link.peer.trusted = True
    return server.requester.request(
        link, lower=0, upper=1, topics=TOPICS, limit=1, cursor=b"", key=bytes(32)
    )


@pytest.mark.parametrize(
    ("call", "code"),
    [(direct, Code.P2P_MESSAGE), (request, Code.P2P_REQUEST)],
    ids=["direct messages", "requests"],
)
@asynchronous
async def test_packets_for_callers_wait(
    tmp_path: Path, call: Callable[[Mailserver, Puppet], Any], code: Code
) -> None:
    async with mailserver(tmp_path) as (server, enode):
        bucket = Bucket(RATE)
        puppet = await Puppet.ready(enode, options=OPTIONS)
        await eventually(lambda: link_of(server, puppet).ready)
        calls = [asyncio.ensure_future(call(server, puppet)) for _ in range(2 * RATE)]
        for _ in calls:
            await puppet.packet(code)
            bucket.take()
        await asyncio.gather(*calls)


@pytest.mark.parametrize("call", [direct, request], ids=["direct messages", "requests"])
@asynchronous
async def test_what_would_wait_for_too_long_is_refused_and_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[[Mailserver, Puppet], Any]
) -> None:
    """A byte a second: our status has used up a minute."""
    options = replace(OPTIONS, bytes_rate_limits=RateLimits(0, 1, 0))
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode, options=options)
        await eventually(lambda: link_of(server, puppet).ready)
        link = link_of(server, puppet)
        waiting = [
            asyncio.ensure_future(call(server, puppet)) for _ in range(outbox.MAX_IN_LINE + 1)
        ]
        with pytest.raises(PeerLimited, match="100 packets wait"):
            await waiting.pop()
        for caller in waiting:
            caller.cancel()
        await asyncio.wait(waiting)
        monkeypatch.setattr(outbox, "MAX_WAIT", 0.01)
        with pytest.raises(PeerLimited, match=r"left no room for the packet for 0\.01 s"):
            await call(server, puppet)
        assert not link.peer.expects_history


@asynchronous
async def test_many_changes_of_our_status_are_one_update(tmp_path: Path) -> None:
    """Changes over the limits are told later, with the last value of each option."""
    async with mailserver(tmp_path) as (server, enode):
        bucket = Bucket(RATE)
        puppet = await Puppet.ready(enode, options=OPTIONS)
        await eventually(lambda: link_of(server, puppet).ready)
        for number in range(1, 41):
            server.set_min_pow(number / 1024)
            await asyncio.sleep(0)
        pow_, count = 0.0, 0
        while pow_ != 40 / 1024:
            update = await puppet.packet(Code.STATUS_UPDATE)
            pow_ = WakuDialect(1).decode_update(Code.STATUS_UPDATE, update).pow or 0.0
            bucket.take()
            count += 1
        assert count < 40


@asynchronous
async def test_an_update_of_the_peer_renews_nothing(tmp_path: Path) -> None:
    """Only a change of its limits does."""
    async with mailserver(tmp_path) as (server, enode):
        bucket = Bucket(RATE)
        puppet = await Puppet.ready(enode, options=OPTIONS)
        await eventually(lambda: link_of(server, puppet).ready)
        calls = []
        for number in range(3):
            calls += [asyncio.ensure_future(direct(server, puppet)) for _ in range(RATE)]
            await change(puppet, link_of(server, puppet), StatusOptions(pow=float(number)))
        for _ in calls:
            await puppet.packet(Code.P2P_MESSAGE)
            bucket.take()
        await asyncio.gather(*calls)


@asynchronous
async def test_confirmations_keep_to_a_limit_of_bytes(tmp_path: Path) -> None:
    """Confirmations that name refused envelopes, to a peer that tells no limit of packets."""
    rate = 3000
    options = StatusOptions(topic_interest=(), bytes_rate_limits=RateLimits(0, rate, 0))
    old = [make(20, TOPICS, created=int(time.time()) - 1000, seed=seed) for seed in range(6)]
    async with mailserver(tmp_path) as (server, enode):
        bucket = Bucket(rate)
        puppet = await Puppet.ready(enode, options=options)
        for batch in old:
            puppet.send(Code.MESSAGES, messages(batch))
        responses = 0
        while responses < len(old):
            packet = await puppet.until(Packet)
            assert packet.code == Code.MESSAGE_RESPONSE
            bucket.take(len(packet.payload))
            responses += 1
        assert server.counters["messages_confirmed"] == len(old)


@asynchronous
async def test_refusals_of_requests_keep_to_a_limit_of_bytes(tmp_path: Path) -> None:
    """A completion was sent as soon as there was room for a byte."""
    rate, asked = 200, 10
    options = StatusOptions(topic_interest=(), bytes_rate_limits=RateLimits(0, rate, 0))
    async with mailserver(tmp_path) as (server, enode):
        bucket = Bucket(rate)
        puppet = await Puppet.ready(enode, options=options)
        for _ in range(asked):
            puppet.send(Code.P2P_REQUEST, b"\xc3\x01\x02\x03")
        for _ in range(asked):
            bucket.take(len(await puppet.packet(Code.P2P_REQUEST_COMPLETE)))
        assert server.counters["requests_failed"] == asked


@pytest.mark.parametrize(
    "limits",
    [
        {"packet_rate_limits": RateLimits(0, 2, 0)},
        {"bytes_rate_limits": RateLimits(0, 500, 0)},
    ],
)
@asynchronous
async def test_confirmations_answers_and_the_relay_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, Any]
) -> None:
    """Each always has something to send. Answers took every packet that the limits allowed."""
    monkeypatch.setattr(relay, "MAX_RELAY_PACKET", 1)  # each envelope in a packet of its own
    envelopes = iter(make(1000, TOPICS))
    async with mailserver(tmp_path) as (_, enode):
        puppet = await Puppet.ready(enode, options=StatusOptions(pow=0.0, **limits))
        other = await Puppet.ready(enode, options=StatusOptions(topic_interest=()))
        causes: dict[Code, Callable[[], None]] = {
            Code.MESSAGES: lambda: other.send(Code.MESSAGES, messages([next(envelopes)])),
            Code.MESSAGE_RESPONSE: lambda: puppet.send(Code.MESSAGES, messages([next(envelopes)])),
            Code.P2P_REQUEST_COMPLETE: lambda: puppet.send(Code.P2P_REQUEST, b"\xc3\x01\x02\x03"),
        }
        for cause in causes.values():
            for _ in range(AHEAD):
                cause()
        came = Counter[int]()
        while min(came[code] for code in causes) < ENOUGH:
            packet = await puppet.until(Packet)
            came[packet.code] += 1
            causes[Code(packet.code)]()
            assert came.total() < 4 * ENOUGH * len(causes), came


def telling(**limits: Any) -> dict[str, Any]:
    """A node that tells these limits."""
    settings = Settings(min_pow=0.0, max_envelope=500_000, max_packet=600_000, **limits)
    return {
        "options": assembly.status_options(settings),
        "incoming_limits": assembly.incoming_limits(settings, Counters()),
    }


@asynchronous
async def test_a_client_that_pages_keeps_to_the_limits_of_the_mailserver(tmp_path: Path) -> None:
    """The mailserver tolerates nothing."""
    node = telling(rate_packets_peer=RATE, rate_tolerance=0)
    async with mailserver(tmp_path, node=node) as (server, enode):
        await post(await Puppet.ready(enode), make(2 * RATE, TOPICS))
        async with connect(enode, node_key=generate(os.urandom), password="test") as peer:
            wanted = Wanted(0, int(time.time()) + 100, topics=tuple(TOPICS), limit=1)
            pages = [page async for page in peer.pages(wanted)]
        assert sum(len(page.envelopes) for page in pages) == 2 * RATE
        assert server.counters["traffic_excess"] == 0


@asynchronous
async def test_a_client_that_posts_keeps_to_a_limit_of_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second packet does not fit into what the first has left of a second's bytes."""
    monkeypatch.setattr(posting, "MAX_POST_PACKET", 500_000)
    rate = 700_000
    envelopes = make(15, TOPICS, size=100_000)
    async with mailserver(tmp_path, node=telling(rate_bytes_peer=rate)) as (_, enode):
        bucket = Bucket(rate)
        async with connect(enode, password="test") as peer:
            posted = await peer.post(envelopes)
        assert posted.confirmed == len(envelopes)
        bucket.take(sum(len(envelope.rlp) for envelope in envelopes))
