"""The rounds of the relay: their times, the size of packets, and peers that hold up nobody."""

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.envelopes import make
from tests.support.exchanges import messages
from tests.support.patience import asynchronous, eventually
from tests.support.puppet import Puppet, mailserver
from tests.support.relaying import ALL, MARK, by_hash, link_of, mark, received, send, wanting
from wakumail.counters import Counters
from wakumail.mail.server import Server
from wakumail.node.relay import (
    LAST_REOFFER_INTERVAL,
    MAX_RELAY_PACKET,
    REOFFER_INTERVAL,
    Relay,
    RelayPeer,
)
from wakumail.waku.envelope import Envelope, parse
from wakumail.waku.packets import Code, PeerSettings

TOPICS = [b"aaaa", b"bbbb"]


@asynchronous
async def test_who_keeps_changing_its_wishes_waits_longer() -> None:
    relay = Relay(Counters(), light=False, relay_memory=1 << 20, max_reply=1 << 20)
    link: Any = SimpleNamespace(peer=SimpleNamespace(settings=PeerSettings()))
    listener = RelayPeer(link, relay.pool.join())
    now = 1000.0
    waits: list[float] = []

    def change() -> float:
        relay._tell_wishes(listener, now)
        return listener.next_offer - now

    while not waits or waits[-1] < LAST_REOFFER_INTERVAL:
        waits.append(change())
        now = listener.next_offer
    assert waits[0] == REOFFER_INTERVAL
    assert all(later == min(2 * wait, LAST_REOFFER_INTERVAL) for wait, later in pairwise(waits))
    now += LAST_REOFFER_INTERVAL
    assert change() == LAST_REOFFER_INTERVAL, "not quiet for long enough"
    now = listener.next_offer + LAST_REOFFER_INTERVAL + 1
    assert change() == REOFFER_INTERVAL
    relay.close()


@asynchronous
async def test_packets_are_small_but_for_large_envelopes(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (_, enode):
        sender, listener = [await Puppet.ready(enode, options=ALL) for _ in range(2)]
        envelopes = [
            *make(10, TOPICS, size=100_000),
            *make(2, TOPICS, size=MAX_RELAY_PACKET, seed=1),
            *make(10, TOPICS, size=100_000, seed=2),
        ]
        send(sender, *envelopes, mark())
        got: list[Envelope] = []
        while not got or got[-1].topic != MARK:
            packet = await listener.packet(Code.MESSAGES)
            batch = parse(packet)
            assert len(packet) <= MAX_RELAY_PACKET or len(batch) == 1
            got += batch
        assert by_hash(got[:-1]) == by_hash(envelopes)


@asynchronous
async def test_a_flood_does_not_push_out_what_nobody_was_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the pool fills up, the next round begins at once, whenever the last was."""
    async with mailserver(tmp_path, relay_memory=1_000_000) as (server, enode):
        sender = await Puppet.ready(enode, options=ALL)
        listener = await Puppet.ready(enode, options=wanting(TOPICS[0]))
        send(sender, mark())
        await received(listener)
        monkeypatch.setattr("wakumail.node.relay.ROUND_INTERVAL", 3600.0)
        (honest,) = make(1, TOPICS[:1], seed=1)
        send(sender, honest)
        for envelope in make(20, TOPICS[1:], size=100_000):
            send(sender, envelope)
        assert parse(await listener.packet(Code.MESSAGES))[0] == honest
        await eventually(lambda: server.relay.pool.evicted > 0)


class Serving:
    """Serves each peer in a turn of its own, and calls `before` first."""

    def __init__(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("wakumail.node.relay.TURN_TIME", 0.0)
        self._serve = server.relay._serve
        self.before: Any = lambda link: None
        monkeypatch.setattr(server.relay, "_serve", self)

    def __call__(self, listener: RelayPeer, turn_ends: float) -> bool:
        self.before(listener.link)
        return self._serve(listener, turn_ends)


@asynchronous
async def test_what_comes_while_a_round_goes_on_is_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for peers that this round has served already."""
    async with mailserver(tmp_path) as (server, enode):
        sender, *listeners = [await Puppet.ready(enode, options=ALL) for _ in range(3)]
        send(sender, mark())
        for listener in listeners:
            await received(listener)
        late, last = make(1, TOPICS), link_of(server, listeners[1])
        serving = Serving(server, monkeypatch)

        def come(link: object) -> None:
            if link is last and late:
                server.relay.take(parse(messages([late.pop()])), None)

        serving.before = come
        send(sender, mark(b"2"))
        for listener in listeners:
            got: list[Envelope] = []
            while not any(envelope.topic in TOPICS for envelope in got):
                got += parse(await listener.packet(Code.MESSAGES))


@asynchronous
async def test_an_error_with_one_peer_does_not_keep_the_others_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with mailserver(tmp_path) as (server, enode):
        sender, broken, listener = [await Puppet.ready(enode, options=ALL) for _ in range(3)]
        send(sender, mark())
        await received(broken)
        await received(listener)
        link = link_of(server, broken)
        serving = Serving(server, monkeypatch)

        def fail(served: object) -> None:
            if served is link:
                raise RuntimeError("of ours")

        serving.before = fail
        for number in range(2):
            send(sender, mark(b"%d" % number))
            await received(listener)
        assert "RuntimeError: of ours" in caplog.text
