"""The relay between puppets: each peer gets the envelopes that it wants, once, and no others."""

import time
from pathlib import Path

import pytest

from tests.support.envelopes import TTL, make
from tests.support.patience import asynchronous, eventually
from tests.support.puppet import Puppet, mailserver
from tests.support.relaying import (
    ALL,
    MARK,
    Clock,
    by_hash,
    change,
    link_of,
    mark,
    received,
    send,
    wanting,
)
from wakumail.waku.bloom import bloom_of
from wakumail.waku.confirmations import MAX_CONFIRMABLE
from wakumail.waku.envelope import Envelope, make_envelope, parse
from wakumail.waku.packets import Code, RateLimits, StatusOptions

TOPICS = [b"aaaa", b"bbbb", b"cccc"]


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apply every change of a peer's wishes at the next round."""
    monkeypatch.setattr("wakumail.node.relay.REOFFER_INTERVAL", 0.0)


at_once = pytest.mark.usefixtures("_at_once")


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
        await eventually(lambda: server.counters["envelopes_archived"] == 61)


@asynchronous
async def test_a_packet_has_no_more_envelopes_than_one_response_can_refuse(
    tmp_path: Path, unix_time: int
) -> None:
    async with mailserver(tmp_path) as (_, enode):
        sender = await Puppet.ready(enode, options=ALL)
        listener = await Puppet.ready(enode, options=ALL)
        many = [
            make_envelope(unix_time + TTL, TTL, b"many", b"", n) for n in range(2 * MAX_CONFIRMABLE)
        ]
        send(sender, *many)
        counts: list[int] = []
        while sum(counts) < len(many):
            counts.append(len(parse(await listener.packet(Code.MESSAGES))))
        assert max(counts) <= MAX_CONFIRMABLE


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
async def test_a_new_peer_is_offered_what_is_live(tmp_path: Path, unix_time: int) -> None:
    async with mailserver(tmp_path) as (server, enode):
        sender = await Puppet.ready(enode, options=ALL)
        expired = make_envelope(unix_time - 5, TTL, TOPICS[0], b"in grace", 0)
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
    """It takes one packet a second. Envelopes that come meanwhile are gathered into the next."""
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
    async with mailserver(tmp_path) as (server, enode):
        sender = await Puppet.ready(enode, options=ALL)
        deaf = await Puppet.ready(enode, options=ALL)
        listener = await Puppet.ready(enode, options=ALL)
        envelopes = make(30, TOPICS, size=200_000)
        for envelope in envelopes:
            send(sender, envelope)
            await received_count(listener, 1)
        monkeypatch.setattr("wakumail.node.outbox.WRITE_TIMEOUT", 0.01)
        link_of(server, deaf).pause_writing()  # its buffer counts as full only from now on
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


# -- envelopes that are sent no more, or not yet ------------------------------------------------


@at_once
@asynchronous
async def test_what_expires_in_the_pool_is_sent_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not to a peer that comes late, that changes its wishes, or that had to wait."""
    clock = Clock(monkeypatch)
    created = clock.now
    async with mailserver(tmp_path) as (server, enode):
        sender = await Puppet.ready(enode, options=ALL)
        listener = await Puppet.ready(enode, options=wanting())
        limits = RateLimits(0, 0, 3)
        paced = await Puppet.ready(enode, options=StatusOptions(pow=0.0, packet_rate_limits=limits))
        await eventually(lambda: all(link.ready for link in server.node.links.values()))
        expiring = make(10, TOPICS[:1], created=created, spread=1)
        send(sender, *expiring, mark(ttl=3 * TTL))
        assert await received(listener) == []
        assert len(await received(paced)) == 3
        clock.now = created + TTL
        assert len(await received_count(paced, 3)) == 3, "in its last second it is live"
        clock.now = created + TTL + 1
        late = await Puppet.ready(enode, options=ALL)
        listener.update(StatusOptions(topic_interest=(*TOPICS, MARK)))
        send(sender, mark(b"the last", ttl=3 * TTL))
        assert await received(late) == []
        assert await received(listener) == []
        assert await received(paced) == []
        assert server.relay.pool.envelopes == 12, "the relay still knows all of them"


@at_once
@asynchronous
async def test_no_envelope_goes_to_a_peer_twice(tmp_path: Path) -> None:
    """Though the peer changes its wishes again and again, and others send the same envelope."""
    async with mailserver(tmp_path) as (server, enode):
        sender, other = [await Puppet.ready(enode, options=ALL) for _ in range(2)]
        listener = await Puppet.ready(enode, options=wanting(TOPICS[0]))
        link = link_of(server, listener)
        envelopes = make(30, TOPICS)
        send(sender, *envelopes, mark())
        assert {envelope.topic for envelope in await received(listener)} == {TOPICS[0]}
        changes = [([], 0), (TOPICS[:2], 10), (TOPICS[1:], 10), (TOPICS[:1], 0), (TOPICS, 0)]
        for number, (topics, new) in enumerate(changes):
            await change(listener, link, StatusOptions(topic_interest=(*topics, MARK)))
            send(other, *envelopes, mark(b"%d" % number))
            assert len(await received(listener)) == new


BLOOM = bloom_of([TOPICS[1], MARK])
NARROWER: dict[str, tuple[StatusOptions, StatusOptions, list[bytes]]] = {
    "fewer topics": (ALL, StatusOptions(topic_interest=(TOPICS[0], MARK)), TOPICS[:1]),
    "a bloom in place of topics": (wanting(TOPICS[0]), StatusOptions(bloom=BLOOM), TOPICS[1:2]),
    "topics in place of a bloom": (
        StatusOptions(pow=0.0, bloom=BLOOM),
        StatusOptions(topic_interest=(TOPICS[0], MARK)),
        TOPICS[:1],
    ),
    "both": (ALL, wanting(TOPICS[2], bloom=BLOOM), TOPICS[2:]),
    "nothing": (ALL, wanting(), []),
}


@at_once
@pytest.mark.parametrize(("before", "update", "wanted"), NARROWER.values(), ids=list(NARROWER))
@asynchronous
async def test_what_a_peer_wants_no_longer_is_not_sent(
    tmp_path: Path, before: StatusOptions, update: StatusOptions, wanted: list[bytes]
) -> None:
    """This holds for forwarded envelopes and for our own."""
    async with mailserver(tmp_path) as (server, enode):
        sender = await Puppet.ready(enode, options=ALL)
        listener = await Puppet.ready(enode, options=before)
        send(sender, mark())
        await received(listener)
        await change(listener, link_of(server, listener), update)
        envelopes = make(30, TOPICS)
        for envelope in envelopes[:15]:
            await server.publish(envelope.rlp)
        send(sender, *envelopes[15:], mark(b"the last"))
        assert by_hash(await received(listener)) == by_hash(
            [envelope for envelope in envelopes if envelope.topic in wanted]
        )


@at_once
@pytest.mark.parametrize(
    "options", [StatusOptions(topic_interest=()), StatusOptions(bloom=bytes(64))]
)
@asynchronous
async def test_who_wants_nothing_gets_nothing(tmp_path: Path, options: StatusOptions) -> None:
    async with mailserver(tmp_path) as (server, enode):
        sender = await Puppet.ready(enode, options=ALL)
        nobody = await Puppet.ready(enode, options=options)
        other = await Puppet.ready(enode, options=ALL)
        send(sender, *make(10, TOPICS), mark())
        await received(other)
        packets = server.counters["packets_relayed"]
        nobody.update(wanting())
        assert await received(nobody) == []
        assert server.counters["packets_relayed"] == packets + 1


@at_once
@asynchronous
async def test_a_raised_pow_of_a_peer_holds_from_its_update_on(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        sender = await Puppet.ready(enode, options=ALL)
        picky = await Puppet.ready(enode, options=ALL)
        send(sender, mark())
        await received(picky)
        envelopes = sorted(make(40, TOPICS), key=lambda envelope: envelope.pow)
        last = envelopes.pop()
        least = envelopes[20].pow
        await change(picky, link_of(server, picky), StatusOptions(pow=least))
        for envelope in envelopes[::2]:
            await server.publish(envelope.rlp)
        send(sender, *envelopes[1::2])
        await eventually(lambda: server.relay.pool.envelopes == 40)
        send(sender, last)
        got: list[Envelope] = []
        while last not in got:
            got += parse(await picky.packet(Code.MESSAGES))
        enough = [envelope for envelope in envelopes if envelope.pow >= least]
        assert by_hash(got) == by_hash([*enough, last])
