"""Peers that nobody has named are found and called, the likely ones first, and none too often."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE, asynchronous, eventually, turns
from tests.support.puppet import connection_config, mailserver, node_config
from wakumail.counters import Counters
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import generate, node_id
from wakumail.devp2p.packets import SHH6
from wakumail.errors import DisconnectReason
from wakumail.node import peer_finder
from wakumail.node.dialer import Dialer
from wakumail.node.link import Link
from wakumail.node.node import Node
from wakumail.node.peer_finder import Candidate, PeerFinder
from wakumail.waku.peer_events import PeerEvent


class Quiet:
    """The handler of a node that does nothing."""

    def on_event(self, link: Link, event: PeerEvent) -> None: ...

    def on_writable(self, link: Link) -> None: ...

    def on_gone(self, link: Link) -> None: ...


class Listed:
    """A source that always finds the same."""

    def __init__(self, *candidates: Candidate) -> None:
        self.found = candidates
        self.looks = 0

    def candidates(self) -> Iterable[Candidate]:
        return self.found

    def look(self) -> None:
        self.looks += 1


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_finder, "SEARCH_INTERVAL", 0.01)


@asynccontextmanager
async def finding(mindial: int, *sources: Listed) -> AsyncIterator[tuple[PeerFinder, Node, Dialer]]:
    counters = Counters()
    node = Node(node_config(connection_config(generate(os.urandom))), Quiet(), counters)
    dialer = Dialer(node, counters)
    finder = PeerFinder(node, dialer, sources, mindial)
    finder.start()
    try:
        yield finder, node, dialer
    finally:
        await finder.close()
        await dialer.close()
        await asyncio.wait_for(node.close(), PATIENCE)


def nobody(port: int = 1) -> Enode:
    """The enode of a node that does not exist."""
    return Enode(node_id(generate(os.urandom).public_key), "127.0.0.1", port, port)


@asynchronous
async def test_as_many_peers_as_wanted_are_called(tmp_path: Path) -> None:
    async with (
        mailserver(tmp_path / "1") as (_, one),
        mailserver(tmp_path / "2") as (_, two),
        mailserver(tmp_path / "3") as (_, three),
    ):
        first = Listed(Candidate(one, True), Candidate(two, True))
        second = Listed(Candidate(two, False), Candidate(three, False))
        async with finding(2, first, second) as (finder, node, _):
            await eventually(lambda: finder.called == 2)
            assert {link.node_id for link in node.peers} == {one.node_id, two.node_id}
            before = node.counters["dials_of_candidates"]
            await turns()
            assert node.counters["dials_of_candidates"] == before == 2
            # One leaves: another is called, and not the same one again at once.
            node.links[one.node_id].disconnect(DisconnectReason.REQUESTED)
            await eventually(
                lambda: {link.node_id for link in node.peers} == {two.node_id, three.node_id}
            )


@asynchronous
async def test_named_peers_count_and_are_not_dialed_twice(tmp_path: Path) -> None:
    async with mailserver(tmp_path / "1") as (_, one), mailserver(tmp_path / "2") as (_, two):
        source = Listed()
        async with finding(1, source) as (finder, node, dialer):
            dialer.add(one)
            await eventually(lambda: finder.called == 1)
            source.found = (Candidate(one, True), Candidate(two, True))
            await turns(50)
            assert node.counters["dials_of_candidates"] == 0


@asynchronous
async def test_who_cannot_be_reached_rests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Listed(Candidate(nobody(), True))
    async with finding(3, source) as (_, node, _):
        await eventually(lambda: node.counters["dials_of_candidates_failed"] == 1)
        looks = source.looks
        await eventually(lambda: source.looks > looks + 3)
        assert node.counters["dials_of_candidates"] == 1
    monkeypatch.setattr(peer_finder, "MIN_REST", 0.001)
    async with finding(3, source) as (_, node, _):
        await eventually(lambda: node.counters["dials_of_candidates_failed"] >= 3)


@asynchronous
async def test_who_speaks_nothing_of_ours_is_let_alone_for_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_finder, "MIN_REST", 0.001)
    key = generate(os.urandom)
    stranger = Node(
        node_config(connection_config(key, capabilities=(SHH6,))),
        Quiet(),
        Counters(),
    )
    host, port = await stranger.listen("127.0.0.1", 0)
    enode = Enode(node_id(key.public_key), host, port, port)
    try:
        source = Listed(Candidate(enode, False))
        async with finding(1, source) as (_, node, _):
            await eventually(lambda: node.counters["dials_of_candidates_useless"] == 1)
            looks = source.looks
            await eventually(lambda: source.looks > looks + 3)
            assert node.counters["dials_of_candidates"] == 1
    finally:
        await asyncio.wait_for(stranger.close(), PATIENCE)


@asynchronous
async def test_those_with_our_key_come_first_and_few_at_once() -> None:
    others = [Candidate(nobody(), False) for _ in range(30)]
    ours = [Candidate(nobody(), True) for _ in range(peer_finder.MAX_SEARCHES)]
    async with finding(100, Listed(*others, *ours)) as (finder, node, _):
        chosen = finder._choose(peer_finder.MAX_SEARCHES)
        assert {enode.node_id for enode in chosen} == {c.enode.node_id for c in ours}
        await eventually(lambda: node.counters["dials_of_candidates_failed"] == 38)


@asynchronous
async def test_a_node_does_not_call_itself_or_what_cannot_be_dialed() -> None:
    source = Listed()
    async with finding(2, source) as (_, node, _):
        own = Enode(node.own_id, "127.0.0.1", 1, 1)
        source.found = (
            Candidate(own, True),
            Candidate(nobody(0), True),
            Candidate(Enode(nobody().node_id, "0.0.0.0", 1, 1), True),
        )
        looks = source.looks
        await eventually(lambda: source.looks > looks + 3)
        assert node.counters["dials_of_candidates"] == 0


@asynchronous
async def test_the_rests_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_finder, "MAX_RESTING", 5)
    source = Listed(*(Candidate(nobody(), True) for _ in range(20)))
    async with finding(20, source) as (finder, node, _):
        await eventually(lambda: node.counters["dials_of_candidates_failed"] >= 20)
        assert len(finder._resting) == 5
