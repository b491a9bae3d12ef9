"""Crowds: when slots, memory or room for peers run short, the host with the most gives them up."""

import os
import socket
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.patience import asynchronous, eventually
from tests.support.puppet import Puppet, mailserver
from tests.support.relaying import link_of
from tests.support.wires import Wire, opened
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import generate, node_id
from wakumail.errors import DisconnectReason
from wakumail.mail.server import Server
from wakumail.node.link import Link
from wakumail.node.roster import OwnRoster
from wakumail.ops.workers.registry import Registry, SharedRoster

CROWD, OTHER, THIRD = "127.0.0.1", "127.0.0.2", "127.0.0.3"


def has_address(address: str) -> bool:
    """True if an address is this machine's: on Linux all are that begin with 127."""
    with closing(socket.socket()) as own:
        try:
            own.bind((address, 0))
        except OSError:
            return False
    return True


several = pytest.mark.skipif(not has_address(OTHER), reason="needs several loopback addresses")


def write(link: Link, size: int) -> None:
    link.peer.connection._handshake.unsent.append(bytes(size))
    link.outbox.flush()


# -- memory for unread bytes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("addresses", "unread", "dropped"),
    [
        # Peers are dropped until a quarter is free, the one with the most unread first.
        (["192.0.2.1"] * 4, [200, 300, 250, 150], [1]),
        (["192.0.2.1"] * 4, [300, 350, 350, 150], [1, 2]),
        # The unread bytes of all peers of a host count together.
        (["192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.2"], [400, 150, 180, 160], [2]),
        (["2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.2"], [150, 180, 160, 400], [1]),
        # Nobody is dropped while there is room.
        (["192.0.2.1"] * 4, [200, 300, 150, 99], []),
    ],
)
@asynchronous
async def test_what_all_leave_unread_is_bounded(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str], unread: list[int], dropped: list[int]
) -> None:
    monkeypatch.setattr("wakumail.node.memory.MAX_UNREAD_OF_ALL", 1000 << 10)
    node, links, wires = opened(addresses)
    reader = Link(node)
    reader.connection_made(Wire("192.0.2.99"))
    for wire, size in zip(wires, unread, strict=True):
        wire.unread = size << 10
    write(reader, 250 << 10)
    reader_wire = reader._transport
    assert isinstance(reader_wire, Wire)
    reader_wire.unread = 0
    assert node.counters["connections_stalled"] == 0
    write(reader, 1)
    assert [number for number, link in enumerate(links) if link.closed] == dropped
    assert node.counters["connections_stalled"] == len(dropped)
    for link in (*links, reader):
        link.connection_lost(None)


# -- room for handshakes and peers ----------------------------------------------------------------


@asynchronous
async def test_an_ipv6_network_is_one_host() -> None:
    crowd = [f"2001:db8::{number}" for number in range(1, 4)]
    node, links, _ = opened(["192.0.2.1", *crowd, "192.0.2.3"], max_handshakes=4)
    assert [link.closed is not None for link in links] == [False, True, False, False, False]
    assert node.counters["connections_crowded_out"] == 1
    for link in links:
        link.connection_lost(None)


async def enter(server: Server, enode: Enode, source: str) -> tuple[Puppet, Link]:
    puppet = await Puppet.ready(enode, source=source)
    await eventually(lambda: any(link.port == puppet.port for link in server.node.links.values()))
    return puppet, link_of(server, puppet)


@several
@asynchronous
async def test_the_host_with_the_most_peers_gives_one_up(tmp_path: Path) -> None:
    """The last that came, and only if that host has more than the newcomer's with one more."""
    async with mailserver(tmp_path, node={"maxpeers": 4}) as (server, enode):
        crowd = [await enter(server, enode, CROWD) for _ in range(4)]
        refused = await Puppet.dial(enode, source=CROWD)
        assert (await refused.closed()).reason == DisconnectReason.TOO_MANY_PEERS
        first, _ = await enter(server, enode, OTHER)
        assert (await crowd[3][0].closed()).reason == DisconnectReason.TOO_MANY_PEERS
        second, _ = await enter(server, enode, OTHER)
        assert (await crowd[2][0].closed()).reason == DisconnectReason.TOO_MANY_PEERS
        refused = await Puppet.dial(enode, source=OTHER)
        assert (await refused.closed()).reason == DisconnectReason.TOO_MANY_PEERS
        third, _ = await enter(server, enode, THIRD)
        refused = await Puppet.dial(enode, source=THIRD)
        assert (await refused.closed()).reason == DisconnectReason.TOO_MANY_PEERS
        assert len(server.node.links) == 4
        assert server.counters["connections_crowded_out"] == 3
        assert server.counters["connections_refused_full"] == 3
        ports = {link.port for link in server.node.links.values()}
        assert {crowd[0][0].port, third.port} < ports
        assert len(ports & {crowd[1][0].port, first.port, second.port}) == 2


@several
@asynchronous
async def test_hosts_are_not_counted_for_each_who_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mailserver(tmp_path, node={"maxpeers": 2}) as (server, enode):
        await enter(server, enode, CROWD)
        await enter(server, enode, OTHER)
        counted: list[None] = []
        hosts = OwnRoster.hosts

        def count(roster: OwnRoster) -> Counter[str]:
            counted.append(None)
            return hosts(roster)

        monkeypatch.setattr("wakumail.node.admission.HOSTS_INTERVAL", 3600.0)
        monkeypatch.setattr(OwnRoster, "hosts", count)
        for _ in range(3):
            refused = await Puppet.dial(enode, source=THIRD)
            assert (await refused.closed()).reason == DisconnectReason.TOO_MANY_PEERS
        assert len(counted) == 1


@several
@asynchronous
async def test_trusted_peers_are_not_given_up(tmp_path: Path) -> None:
    async with mailserver(tmp_path, node={"maxpeers": 2}) as (server, enode):
        keys = [generate(os.urandom) for _ in range(3)]
        for key in keys:
            server.node.admission.trust(node_id(key.public_key))
            await Puppet.ready(enode, key=key, source=CROWD)
        guests = [await enter(server, enode, source) for source in (OTHER, THIRD)]
        refused = await Puppet.dial(enode, source="127.0.0.4")
        assert (await refused.closed()).reason == DisconnectReason.TOO_MANY_PEERS
        assert {link for _, link in guests} <= {*server.node.links.values()}
        assert len(server.node.links) == 5


@several
@asynchronous
async def test_hosts_are_counted_together_with_other_workers(tmp_path: Path) -> None:
    """A host is crowded by its guests at all workers. It gives up one if it has a guest here."""
    registry = Registry.create(parts=2, maxpeers=4)
    rosters = [SharedRoster(registry, part, lambda node_id: None) for part in range(2)]
    here_too, there_too = ({"maxpeers": 4, "roster": roster} for roster in rosters)
    async with (
        mailserver(tmp_path / "here", node=here_too) as (here, enode),
        mailserver(tmp_path / "there", node=there_too) as (there, other_enode),
    ):
        crowd, _ = await enter(here, enode, CROWD)
        for _ in range(3):
            await enter(there, other_enode, CROWD)
        await enter(here, enode, OTHER)
        assert (await crowd.closed()).reason == DisconnectReason.TOO_MANY_PEERS
        refused = await Puppet.dial(enode, source=OTHER)
        assert (await refused.closed()).reason == DisconnectReason.TOO_MANY_PEERS
        await enter(there, other_enode, OTHER)
        assert there.counters["connections_crowded_out"] == 1
        assert rosters[0].hosts() == {CROWD: 2, OTHER: 2}
    registry.close()
