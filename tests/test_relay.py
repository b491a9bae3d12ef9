"""The relay between peers under a test's control: who gets what, once, and who does not."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.envelopes import TTL, make
from tests.puppet import Puppet, asynchronous, eventually, mailserver
from tests.test_server import messages
from wakumail.bloom import bloom_of
from wakumail.envelope import Envelope, make_envelope, parse
from wakumail.waku import Code, RateLimits, StatusOptions

TOPICS = [b"aaaa", b"bbbb", b"cccc"]
ALL = StatusOptions(pow=0.0)
MARK = b"mark"
"""The topic of what is sent last: once it is there, all before it would be."""


def mark() -> Envelope:
    now = int(time.time())
    return make_envelope(now + TTL, TTL, MARK, b"", 0)


def wanting(*topics: bytes, bloom: bytes | None = None) -> StatusOptions:
    return StatusOptions(pow=0.0, topic_interest=(*topics, MARK), bloom=bloom)


async def received(puppet: Puppet) -> list[Envelope]:
    """All that comes up to the mark."""
    envelopes: list[Envelope] = []
    while not any(envelope.topic == MARK for envelope in envelopes):
        envelopes += parse(await puppet.packet(Code.MESSAGES))
    assert len({envelope.hash for envelope in envelopes}) == len(envelopes), "something came twice"
    return [envelope for envelope in envelopes if envelope.topic != MARK]


def send(puppet: Puppet, *envelopes: Envelope) -> None:
    puppet.send(Code.MESSAGES, messages(envelopes))


def by_hash(envelopes: Sequence[Envelope]) -> set[bytes]:
    return {envelope.hash for envelope in envelopes}


@asynchronous
async def test_each_peer_gets_what_it_wants_once(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        sender = await Puppet.ready(enode, options=ALL)
        listeners = {
            "all": await Puppet.ready(enode, options=ALL),
            "topics": await Puppet.ready(enode, options=wanting(TOPICS[0])),
            "bloom": await Puppet.ready(
                enode, options=StatusOptions(pow=0.0, bloom=bloom_of([TOPICS[1], MARK]))
            ),
            "both": await Puppet.ready(enode, options=wanting(TOPICS[2], bloom=bytes(64))),
        }
        envelopes = make(60, TOPICS)
        send(sender, *envelopes[:30])
        send(sender, *envelopes[20:], mark())
        wanted = {
            "all": envelopes,
            "topics": [e for e in envelopes if e.topic == TOPICS[0]],
            "bloom": [e for e in envelopes if e.topic == TOPICS[1]],
            "both": [e for e in envelopes if e.topic == TOPICS[2]],
        }
        for name, listener in listeners.items():
            assert by_hash(await received(listener)) == by_hash(wanted[name]), name
        assert server.counters["envelopes_duplicate"] == 10
        assert server.counters["envelopes_archived"] == 61


@asynchronous
async def test_nothing_goes_back_to_who_has_it(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (_, enode):
        first = await Puppet.ready(enode, options=ALL)
        second = await Puppet.ready(enode, options=ALL)
        third = await Puppet.ready(enode, options=ALL)
        envelopes = make(10, TOPICS)
        send(first, *envelopes)
        assert by_hash(await received_count(second, 10)) == by_hash(envelopes)
        send(second, *envelopes)
        send(third, *envelopes[:5], mark())
        assert await received(first) == []
        assert await received(second) == []
        assert by_hash(await received_count(third, 10)) <= by_hash(envelopes)


async def received_count(puppet: Puppet, count: int) -> list[Envelope]:
    envelopes: list[Envelope] = []
    while len(envelopes) < count:
        envelopes += parse(await puppet.packet(Code.MESSAGES))
    return envelopes


@asynchronous
async def test_too_little_work_is_not_sent(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (_, enode):
        sender = await Puppet.ready(enode, options=ALL)
        envelopes = [*make(50, TOPICS), mark()]
        least = sorted(envelope.pow for envelope in envelopes)[25]
        picky = await Puppet.ready(enode, options=StatusOptions(pow=least))
        lenient = await Puppet.ready(enode, options=ALL)
        send(sender, *envelopes)
        await received(lenient)
        enough = [envelope for envelope in envelopes if envelope.pow >= least]
        assert by_hash(await received_count(picky, len(enough))) == by_hash(enough)


@asynchronous
async def test_a_new_peer_is_offered_what_is_live(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        sender = await Puppet.ready(enode, options=ALL)
        now = int(time.time())
        expired = make_envelope(now - 5, TTL, TOPICS[0], b"in grace", 0)
        live = [*make(10, TOPICS), mark()]
        send(sender, expired, *live)
        await eventually(lambda: server.counters["envelopes_archived"] == 12)
        late = await Puppet.ready(enode, options=ALL)
        assert by_hash(await received(late)) == by_hash(live[:-1])


@asynchronous
async def test_a_status_update_changes_what_is_sent(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (_, enode):
        sender = await Puppet.ready(enode, options=ALL)
        listener = await Puppet.ready(enode, options=wanting())
        envelopes = make(30, TOPICS)
        send(sender, *envelopes, mark())
        assert await received(listener) == []
        wider = StatusOptions(topic_interest=tuple(TOPICS[:2]))
        listener.update(wider)
        wanted = [e for e in envelopes if e.topic in TOPICS[:2]]
        assert by_hash(await received_count(listener, len(wanted))) == by_hash(wanted)


@asynchronous
async def test_a_light_node_relays_nothing_but_its_own(tmp_path: Path) -> None:
    options = StatusOptions(pow=0.0, light=True, confirmations=True)
    async with mailserver(tmp_path, node={"options": options}) as (server, enode):
        sender = await Puppet.ready(enode, options=ALL)
        listener = await Puppet.ready(enode, options=ALL)
        send(sender, *make(10, TOPICS))
        await eventually(lambda: server.counters["envelopes_archived"] == 10)
        await server.publish(mark().rlp)
        assert await received(listener) == []


@asynchronous
async def test_the_limits_of_a_peer_are_kept(tmp_path: Path) -> None:
    """It takes one packet a second: what comes meanwhile is gathered into the next."""
    async with mailserver(tmp_path) as (_, enode):
        sender = await Puppet.ready(enode, options=ALL)
        started = time.monotonic()
        limits = RateLimits(0, 1, 0)
        slow = await Puppet.ready(enode, options=StatusOptions(pow=0.0, packet_rate_limits=limits))
        quick = await Puppet.ready(enode, options=ALL)
        envelopes = make(40, TOPICS)
        for number in range(4):
            send(sender, *envelopes[10 * number : 10 * number + 10])
            await received_count(quick, 10)
        send(sender, mark())
        packets = 0
        got: list[Envelope] = []
        while len(got) < 41:
            got += parse(await slow.packet(Code.MESSAGES))
            packets += 1
        assert packets <= 2 + (time.monotonic() - started)


@asynchronous
async def test_who_does_not_read_is_dropped_and_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wakumail.link.WRITE_TIMEOUT", 0.3)
    async with mailserver(tmp_path) as (server, enode):
        sender = await Puppet.ready(enode, options=ALL)
        deaf = await Puppet.ready(enode, options=ALL)
        listener = await Puppet.ready(enode, options=ALL)
        envelopes = make(60, TOPICS, size=200_000)
        for envelope in envelopes:
            send(sender, envelope)
            await received_count(listener, 1)
        await eventually(lambda: server.counters["connections_stalled"] == 1)
        await eventually(lambda: len(server.node.links) == 2)
        assert deaf.port not in {link.port for link in server.node.links.values()}


@asynchronous
async def test_the_pool_has_a_bound(tmp_path: Path) -> None:
    async with mailserver(tmp_path, relay_memory=100_000) as (server, enode):
        sender = await Puppet.ready(enode, options=ALL)
        send(sender, *make(50, TOPICS, size=10_000))
        await eventually(lambda: server.counters["envelopes_archived"] == 50)
        assert server.relay.pool.size <= 100_000
        assert server.relay.pool.evicted >= 40
