"""Rate limits over sockets (6/WAKU1, "Rate Limits Field"): sent, changed, enforced, respected."""

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.envelopes import make
from tests.support.exchanges import TOPICS, answer, messages, post
from tests.support.exchanges import build as build_request
from tests.support.patience import asynchronous, eventually
from tests.support.puppet import Puppet, mailserver
from tests.support.relaying import ALL, Clock, change, link_of, mark, received, send
from wakumail.base.keccak import keccak256
from wakumail.counters import Counters
from wakumail.devp2p.connection_events import Established, Packet
from wakumail.devp2p.keys import generate, node_id
from wakumail.errors import DisconnectReason
from wakumail.ops import assembly
from wakumail.ops.config.settings import Settings
from wakumail.ops.config.values import peer_or_network
from wakumail.waku.completion import Completion
from wakumail.waku.confirmations import decode_batch_ack, decode_message_response
from wakumail.waku.envelope import Envelope, parse
from wakumail.waku.packets import MAX_REQUEST_SIZE, Code, RateLimits, StatusOptions, WakuDialect

FLOOD = 50
"""Packets at once, if a few in each second are allowed."""


SMALL_PACKETS = {"max_envelope": 50_000, "max_packet": 100_000}
"""A limit of bytes per second has to be at least one packet."""


def limited(counters: Counters, **chosen: Any) -> dict[str, Any]:
    """Choices of a node with rate limits, without tolerance unless given."""
    settings = Settings(min_pow=0.0, **SMALL_PACKETS | {"rate_tolerance": 0} | chosen)
    return {
        "options": assembly.status_options(settings),
        "incoming_limits": assembly.incoming_limits(settings, counters),
    }


def flood(puppet: Puppet, count: int = FLOOD) -> None:
    """Send packets with an unknown code, all at once."""
    for _ in range(count):
        puppet.connection.send(puppet.waku, 99, b"\xc0")
    puppet.flush()


# -- limits in our status ------------------------------------------------------------------------

PACKET_LIMITS = {
    "rate_packets_ip": 100,
    "rate_packets_peer": 200,
    "rate_packets_topic": 300,
}
ALL_LIMITS = PACKET_LIMITS | {
    "rate_bytes_ip": 100_000,
    "rate_bytes_peer": 200_000,
    "rate_bytes_topic": 300_000,
}
PACKETS, SIZES = RateLimits(100, 200, 300), RateLimits(100_000, 200_000, 300_000)


@asynchronous
async def test_the_status_tells_our_limits(tmp_path: Path) -> None:
    async with mailserver(tmp_path, node=limited(Counters(), **ALL_LIMITS)) as (_, enode):
        puppet = await Puppet.dial(enode)
        await puppet.until(Established)
        told = WakuDialect(1).decode_status(await puppet.packet(Code.STATUS))
        assert (told.packet_rate_limits, told.bytes_rate_limits) == (PACKETS, SIZES)


@asynchronous
async def test_a_status_update_tells_of_a_change_and_of_nothing_else(tmp_path: Path) -> None:
    async with mailserver(tmp_path, node=limited(Counters(), **ALL_LIMITS)) as (server, enode):
        puppet = await Puppet.ready(enode)
        options, rules = server.node.status.options, server.rules
        changes: list[dict[str, Any]] = [
            {"packet_rate_limits": RateLimits(1, 2, 3)},
            {"bytes_rate_limits": RateLimits(4, 5, 6)},
        ]
        for named in changes:
            options = replace(options, **named)
            server.node.change_status(options, rules)
            update = await puppet.packet(Code.STATUS_UPDATE)
            told = WakuDialect(1).decode_update(Code.STATUS_UPDATE, update)
            assert told == StatusOptions(**named)


# -- limits that we enforce ----------------------------------------------------------------------


@asynchronous
async def test_who_sends_too_many_packets_is_dropped_alone(tmp_path: Path) -> None:
    counters = Counters()
    async with mailserver(tmp_path, node=limited(counters, rate_packets_peer=5)) as (server, enode):
        greedy, modest = await Puppet.ready(enode), await Puppet.ready(enode)
        flood(greedy)
        assert (await greedy.closed()).reason == DisconnectReason.BREACH_OF_PROTOCOL
        assert counters["rate_limit_packets_peer"] == server.counters["traffic_excess"] == 1
        assert server.counters["packets_unknown"] < FLOOD
        assert await post(modest, make(5, TOPICS)) == []


@asynchronous
async def test_an_address_has_one_limit_for_all_its_peers(tmp_path: Path) -> None:
    """Each of four peers keeps to its own limit; together they exceed that of the address."""
    counters = Counters()
    node = limited(counters, rate_packets_ip=2 * FLOOD, rate_packets_peer=2 * FLOOD)
    async with mailserver(tmp_path, node=node) as (server, enode):
        puppets = [await Puppet.ready(enode) for _ in range(4)]
        for puppet in puppets:
            flood(puppet, 2 * FLOOD - 10)
        await eventually(lambda: server.counters["traffic_excess"] > 0)
        assert counters["rate_limit_packets_ip"] > 0
        assert counters["rate_limit_packets_peer"] == 0


@asynchronous
async def test_the_envelopes_of_a_topic_are_limited(tmp_path: Path) -> None:
    counters = Counters()
    async with mailserver(tmp_path, node=limited(counters, rate_packets_topic=5)) as (
        server,
        enode,
    ):
        puppet = await Puppet.ready(enode)
        assert await post(puppet, make(20, [b"top%c" % n for n in range(20)])) == []
        puppet.send(Code.MESSAGES, messages(make(20, TOPICS[:1])))
        await puppet.closed()
        assert counters["rate_limit_packets_topic"] == server.counters["traffic_excess"] == 1
        assert server.counters["envelopes_archived"] == server.relay.pool.envelopes == 20


@pytest.mark.parametrize("of", ["ip", "peer", "topic"])
@asynchronous
async def test_bytes_are_limited_and_one_largest_packet_fits(tmp_path: Path, of: str) -> None:
    counters = Counters()
    node = limited(counters, **{f"rate_bytes_{of}": 100_000})
    async with mailserver(tmp_path, node=node) as (server, enode):
        puppet = await Puppet.ready(enode)
        large = make(40, TOPICS[:1], size=2000)
        assert 60_000 < len(messages(large)) < 100_000
        assert await post(puppet, large) == []
        puppet.send(Code.MESSAGES, messages(make(40, TOPICS[:1], size=2000, seed=2)))
        await puppet.closed()
        assert counters[f"rate_limit_bytes_{of}"] == server.counters["traffic_excess"] == 1
        assert server.counters["envelopes_archived"] == 40


@asynchronous
async def test_what_is_tolerated_is_counted_and_taken(tmp_path: Path) -> None:
    counters = Counters()
    node = limited(counters, rate_packets_peer=1, rate_tolerance=2 * FLOOD)
    async with mailserver(tmp_path, node=node) as (server, enode):
        puppet = await Puppet.ready(enode)
        flood(puppet)
        assert await post(puppet, make(5, TOPICS)) == []
        assert counters["rate_limit_packets_peer"] > 0
        assert server.counters["packets_unknown"] == FLOOD
        flood(puppet, 4 * FLOOD)
        await puppet.closed()
        assert server.counters["traffic_excess"] == 1


KEY = generate(lambda size: b"k" * size)


@pytest.mark.parametrize("listed", ["127.0.0.0/8", node_id(KEY.public_key).hex()])
@asynchronous
async def test_the_whitelist_is_not_limited(tmp_path: Path, listed: str) -> None:
    counters = Counters()
    whitelist = (peer_or_network(listed),)
    few = dict.fromkeys(PACKET_LIMITS, 1)
    node = limited(counters, **few, rate_whitelist=whitelist)
    async with mailserver(tmp_path, node=node) as (server, enode):
        puppet = await Puppet.ready(enode, key=KEY)
        flood(puppet)
        assert await post(puppet, make(FLOOD, TOPICS[:1])) == []
        assert server.counters["packets_unknown"] == FLOOD
        assert not [name for name in counters if name.startswith("rate_limit")]


# -- limits of a peer ----------------------------------------------------------------------------


@asynchronous
async def test_the_bytes_that_a_peer_takes_are_not_exceeded(tmp_path: Path) -> None:
    limit = 200_000
    options = StatusOptions(pow=0.0, bytes_rate_limits=RateLimits(0, limit, 0))
    async with mailserver(tmp_path) as (_, enode):
        sender = await Puppet.ready(enode, options=ALL)
        slow = await Puppet.ready(enode, options=options)
        started = time.monotonic()
        send(sender, *make(60, TOPICS, size=10_000), mark())
        sizes: list[int] = []
        got: list[Envelope] = []
        while len(got) < 61:
            packet = await slow.packet(Code.MESSAGES)
            sizes.append(len(packet))
            got += parse(packet)
        assert sum(sizes) <= limit * (1 + time.monotonic() - started)
        assert max(sizes) <= limit


@asynchronous
async def test_the_envelopes_of_a_topic_that_a_peer_takes_are_not_exceeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    options = StatusOptions(pow=0.0, packet_rate_limits=RateLimits(0, 0, 2))
    async with mailserver(tmp_path) as (server, enode):
        sender = await Puppet.ready(enode, options=ALL)
        slow = await Puppet.ready(enode, options=options)
        await eventually(lambda: link_of(server, slow).ready)
        send(sender, *make(6, TOPICS[:1]), mark())
        assert len(await received(slow)) == 2
        for _ in range(2):
            clock.now += 1
            batch = list(parse(await slow.packet(Code.MESSAGES)))
            assert [envelope.topic for envelope in batch] == TOPICS[:1] * 2


@asynchronous
async def test_limits_that_come_in_an_update_hold(tmp_path: Path) -> None:
    """One packet a second from now on; before there was no limit."""
    async with mailserver(tmp_path) as (server, enode):
        sender = await Puppet.ready(enode, options=ALL)
        slow = await Puppet.ready(enode, options=ALL)
        quick = await Puppet.ready(enode, options=ALL)
        await change(
            slow, link_of(server, slow), StatusOptions(packet_rate_limits=RateLimits(1, 0, 0))
        )
        started = time.monotonic()
        for number in range(8):
            send(sender, mark(b"%d" % number))
            await received(quick)
        packets = 0
        got: list[Envelope] = []
        while len(got) < 8:
            got += parse(await slow.packet(Code.MESSAGES))
            packets += 1
        assert packets <= 2 + (time.monotonic() - started)


@asynchronous
async def test_history_keeps_to_the_limits_of_the_peer(tmp_path: Path) -> None:
    """Fifteen packets, one for each envelope, to a peer that takes ten in a second."""
    limits = RateLimits(0, 10, 0)
    async with mailserver(tmp_path) as (_, enode):
        await post(await Puppet.ready(enode), make(15, TOPICS))
        options = StatusOptions(topic_interest=(), packet_rate_limits=limits)
        puppet = await Puppet.ready(enode, options=options)
        started = time.monotonic()
        puppet.send(Code.P2P_REQUEST, build_request(topics=TOPICS, batch=False)[0])
        counts = (await answer(puppet))[1]
        assert counts == [1] * 15
        assert len(counts) <= 10 * (1 + time.monotonic() - started)


@asynchronous
async def test_who_leaves_is_waited_for_no_longer(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        await post(await Puppet.ready(enode), make(15, TOPICS))
        limits = RateLimits(0, 1, 0)
        options = StatusOptions(topic_interest=(), packet_rate_limits=limits)
        puppet = await Puppet.ready(enode, options=options)
        puppet.send(Code.P2P_REQUEST, build_request(topics=TOPICS, batch=False)[0])
        await puppet.packet(Code.P2P_MESSAGE)
        puppet.hang_up()
        await eventually(lambda: server.counters["requests_abandoned"] == 1)
        assert server.counters["envelopes_delivered"] < 15


@asynchronous
async def test_every_packet_counts_against_the_limits_of_the_peer(tmp_path: Path) -> None:
    """Confirmations, relayed envelopes, history and completions, all at once."""
    rate = 50
    options = StatusOptions(pow=0.0, packet_rate_limits=RateLimits(0, rate, 0))
    async with mailserver(tmp_path) as (server, enode):
        other = await Puppet.ready(enode, options=ALL)
        puppet = await Puppet.ready(enode, options=options)
        batches = [make(2, TOPICS, seed=seed) for seed in range(40)]
        started = time.monotonic()
        for number, batch in enumerate(batches):
            puppet.send(Code.MESSAGES, messages(batch))
            send(other, *make(2, TOPICS, seed=1000 + number))
        asked = 10
        for _ in range(asked):
            puppet.send(Code.P2P_REQUEST, build_request(topics=TOPICS, limit=3, batch=False)[0])
        send(other, mark())
        codes = Counter[int]()
        live: list[Envelope] = []
        confirmed: set[bytes] = set()
        while codes[Code.P2P_REQUEST_COMPLETE] < asked or len(confirmed) < 40 or len(live) < 81:
            packet = await puppet.until(Packet)
            codes[packet.code] += 1
            if packet.code == Code.MESSAGES:
                live += parse(packet.payload)
            elif packet.code == Code.MESSAGE_RESPONSE:
                response = decode_message_response(packet.payload)
                assert response.errors == ()
                confirmed.add(response.batch_hash)
            elif packet.code == Code.BATCH_ACK:
                confirmed.add(decode_batch_ack(packet.payload))
        assert confirmed == {keccak256(messages(batch)) for batch in batches}
        assert codes.total() <= rate * (1 + time.monotonic() - started)
        assert server.counters["messages_confirmed"] == 81


@asynchronous
async def test_refusals_keep_to_the_limits_of_the_peer_too(tmp_path: Path) -> None:
    """Those of requests that do not even wait are counted, and told while the limits allow it.

    Our status was the first packet of this second.
    """
    options = StatusOptions(topic_interest=(), packet_rate_limits=RateLimits(0, 2, 0))
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode, options=options)
        started = time.monotonic()
        for _ in range(50):
            puppet.send(Code.P2P_REQUEST, bytes(MAX_REQUEST_SIZE + 1))
        await eventually(lambda: server.counters["requests_failed"] == 50)
        puppet.send(Code.P2P_REQUEST, build_request(topics=TOPICS)[0])
        refused = 0
        while Completion.decode(await puppet.packet(Code.P2P_REQUEST_COMPLETE)).error:
            refused += 1
        assert 1 <= refused <= 1 + 2 * (time.monotonic() - started)
