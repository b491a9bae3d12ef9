"""Turns: peers that send much are served in turn, and hold up no peer that sends little."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.connections import deliver
from tests.support.envelopes import make
from tests.support.exchanges import TOPICS, messages
from tests.support.patience import asynchronous, eventually, turns
from tests.support.puppet import Puppet, mailserver
from tests.support.relaying import link_of
from wakumail.devp2p.connection import MAX_UNEVENTFUL, PACKET_COST
from wakumail.errors import DisconnectReason
from wakumail.mail.server import Server
from wakumail.node.link import Link
from wakumail.node.outbox import UNREAD_TOO_MUCH, Outbox
from wakumail.waku.packets import Code

SENDERS, PACKETS = 3, 20


class Taken:
    """Notes the links whose events are taken, in their order."""

    def __init__(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        self.links: list[Link] = []
        self._on_event = server.on_event
        monkeypatch.setattr(server, "on_event", self)

    def __call__(self, link: Link, event: object) -> None:
        self.links.append(link)
        self._on_event(link, event)  # type: ignore[arg-type]


def send_much(puppet: Puppet) -> None:
    """Packets with another kind in between, so that each is an event of its own."""
    for _ in range(PACKETS):
        puppet.connection.send(puppet.waku, Code.MESSAGES, messages(make(3, TOPICS)))
        puppet.connection.send(puppet.waku, Code.BATCH_ACK, b"")


@asynccontextmanager
async def one_peer(datadir: Path) -> AsyncIterator[tuple[Server, Link, Puppet]]:
    """A mailserver, its link to a puppet, and the puppet."""
    async with mailserver(datadir) as (server, enode):
        puppet = await Puppet.ready(enode)
        await eventually(lambda: len(server.node.peers) == 1)
        yield server, link_of(server, puppet), puppet


def wire_of(puppet: Puppet) -> bytes:
    """The bytes that a puppet has to send."""
    return b"".join(puppet.connection.data_to_send())


@asynchronous
async def test_who_sends_much_goes_on_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All packets came in one read. Each round of the loop takes one event of one link."""
    async with mailserver(tmp_path) as (server, enode):
        puppets = [await Puppet.ready(enode) for _ in range(SENDERS)]
        await eventually(lambda: len(server.node.peers) == SENDERS)
        links = [link_of(server, puppet) for puppet in puppets]
        for puppet in puppets:
            send_much(puppet)
        monkeypatch.setattr("wakumail.base.turns.TURN_TIME", 0.0)
        taken = Taken(server, monkeypatch)
        for link, puppet in zip(links, puppets, strict=True):
            deliver(link, wire_of(puppet))
        assert not taken.links
        most = 0
        while len(taken.links) < SENDERS * PACKETS:
            before = len(taken.links)
            await turns(1)
            most = max(most, len(taken.links) - before)
        assert most == 1
        assert taken.links == links * PACKETS


@asynchronous
async def test_who_sends_little_does_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single packet is taken at once, though the turn is over, and reading goes on."""
    async with one_peer(tmp_path) as (server, link, puppet):
        monkeypatch.setattr("wakumail.base.turns.TURN_TIME", 0.0)
        assert server.node.turns.is_over()
        taken = Taken(server, monkeypatch)
        puppet.connection.send(puppet.waku, Code.MESSAGES, messages(make(3, TOPICS)))
        deliver(link, wire_of(puppet))
        assert taken.links == [link]
        assert link._transport.is_reading()


@asynchronous
async def test_who_has_left_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with mailserver(tmp_path) as (server, enode):
        puppets = [await Puppet.ready(enode) for _ in range(SENDERS)]
        await eventually(lambda: len(server.node.peers) == SENDERS)
        monkeypatch.setattr("wakumail.base.turns.TURN_TIME", 0.0)
        taken = Taken(server, monkeypatch)
        for puppet in puppets:
            send_much(puppet)
            deliver(link_of(server, puppet), wire_of(puppet))
        first = link_of(server, puppets[0])
        first.disconnect(DisconnectReason.QUITTING)
        await eventually(lambda: len(taken.links) == (SENDERS - 1) * PACKETS)
        assert first not in taken.links
    assert not caplog.records


@asynchronous
async def test_packets_without_an_event_take_from_the_turn_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with one_peer(tmp_path) as (_, link, puppet):
        monkeypatch.setattr("wakumail.base.turns.TURN_TIME", 0.0)
        for _ in range(3 * MAX_UNEVENTFUL // PACKET_COST):
            puppet.connection.probe(0.0)
        deliver(link, wire_of(puppet))
        assert not link._transport.is_reading()
        await eventually(lambda: link._transport.is_reading())
        assert link.peer.connection.buffered == 0


@asynchronous
async def test_who_does_not_read_its_answers_is_not_read_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with one_peer(tmp_path) as (server, link, puppet):
        taken = Taken(server, monkeypatch)
        with monkeypatch.context() as patch:
            patch.setattr(Outbox, "unread", UNREAD_TOO_MUCH + 1)
            link.pause_writing()
            puppet.connection.probe(0.0)
            deliver(link, wire_of(puppet))
            assert not link._transport.is_reading()
            puppet.connection.send(puppet.waku, Code.MESSAGES, messages(make(3, TOPICS)))
            deliver(link, wire_of(puppet))
            assert not taken.links
        link.resume_writing()
        assert taken.links == [link]
        assert link._transport.is_reading()


@asynchronous
async def test_those_who_leave_at_once_go_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of ends in one round would hold up who stays; their last packets are taken."""
    async with mailserver(tmp_path) as (server, enode):
        leaving = [await Puppet.ready(enode) for _ in range(6)]
        await eventually(lambda: len(server.node.peers) == 6)
        links = [link_of(server, puppet) for puppet in leaving]
        monkeypatch.setattr("wakumail.base.turns.TURN_TIME", 0.0)  # one in each round
        for number, link in enumerate(links):
            deliver(link, messages_of(leaving[number], number))
            assert link.eof_received() is True
        assert [link.closed for link in links] == [None] * 6
        left: list[int] = []
        while not left or left[-1] < 6:
            await turns(1)
            left.append(sum(link.closed is not None for link in links))
        assert {1, 2, 3, 4, 5} <= set(left)
        await eventually(lambda: not server.node.links)
        assert server.counters["envelopes_received"] == 6


def messages_of(puppet: Puppet, seed: int) -> bytes:
    """The bytes of one Messages packet."""
    puppet.connection.send(puppet.waku, Code.MESSAGES, messages(make(1, TOPICS, seed=seed)))
    return wire_of(puppet)
