"""A link and its transport: peers that read too little, and sockets whose peer has left already."""

import asyncio
import gc
import ipaddress
import os
import socket
import struct
import weakref
from pathlib import Path

import pytest

from tests.support.hostile import Served
from tests.support.patience import PATIENCE, asynchronous, eventually
from tests.support.puppet import Puppet, connection_config, mailserver, node_config
from tests.support.relaying import link_of
from tests.support.wires import Nobody, Wire
from wakumail.counters import Counters
from wakumail.devp2p.keys import generate
from wakumail.node.link import Link
from wakumail.node.node import Node
from wakumail.node.outbox import MIN_PROGRESS
from wakumail.node.roster import OwnRoster
from wakumail.ops.assembly import incoming_limits
from wakumail.ops.config.settings import Settings


class Torn(OwnRoster):
    """A roster that fails to forget a peer."""

    def leave(self, node_id: bytes) -> None:
        raise OSError("no locks available")


@pytest.mark.parametrize("read", [MIN_PROGRESS - 1, MIN_PROGRESS])
@asynchronous
async def test_progress_is_what_the_peer_has_read(
    monkeypatch: pytest.MonkeyPatch, read: int
) -> None:
    """Only bytes that the peer has read count, however many were written meanwhile."""
    counters = Counters()
    node = Node(node_config(connection_config(generate(os.urandom))), Nobody(), counters)
    link, wire = Link(node), Wire()
    link.connection_made(wire)
    link.peer.connection._handshake.unsent.append(bytes(1 << 20))
    link.outbox.flush()
    monkeypatch.setattr("wakumail.node.outbox.WRITE_TIMEOUT", 0.0)
    link.pause_writing()
    monkeypatch.setattr("wakumail.node.outbox.WRITE_TIMEOUT", 60.0)
    link.peer.connection._handshake.unsent.append(bytes(1 << 20))
    link.outbox.flush()
    wire.unread -= read
    looked: list[None] = []
    asyncio.get_running_loop().call_later(0, looked.append, None)
    await eventually(lambda: bool(looked))
    assert counters["connections_stalled"] == (read < MIN_PROGRESS)
    link.connection_lost(None)


@asynchronous
async def test_all_hear_of_an_end_that_the_roster_fails_to_note() -> None:
    handler = Nobody()
    config = node_config(connection_config(generate(os.urandom)), roster=Torn())
    node = Node(config, handler, Counters())
    link = Link(node)
    link.connection_made(Wire())
    node.links[link.node_id] = link
    link.ready = True
    with pytest.raises(OSError, match="no locks available"):
        link.connection_lost(None)
    async with asyncio.timeout(PATIENCE):
        await link.gone()
        await node.close()
    assert handler.gone == [link]


@asynchronous
async def test_sockets_whose_peer_has_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They have no address. They leave nothing in the node and nothing in the log."""
    networks = (ipaddress.ip_network("127.0.0.0/8"),)
    async with mailserver(tmp_path, node={"netrestrict": networks}) as (server, enode):
        served = await Served.connect(enode)
        for _ in range(20):
            with socket.create_connection((enode.host, enode.port)) as gone:
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await eventually(lambda: server.counters["connections_accepted"] == 2 + 20)
        await eventually(lambda: len(server.node._sockets) == 2)
        await served.check()
    assert not caplog.records


@pytest.mark.parametrize("packets", [0, 1000])
@asynchronous
async def test_a_link_goes_with_its_last_reference(tmp_path: Path, packets: int) -> None:
    """A server looks for cyclic garbage so seldom that an ended link must be part of none."""
    limits = incoming_limits(Settings(rate_packets_peer=packets), Counters())
    async with mailserver(tmp_path, node={"incoming_limits": limits}) as (server, enode):
        puppet = await Puppet.ready(enode)
        link = weakref.ref(link_of(server, puppet))
        peer = weakref.ref(link_of(server, puppet).peer)
        gc.disable()
        try:
            puppet.hang_up()
            await eventually(lambda: not server.node._sockets)
            await eventually(lambda: link() is None and peer() is None)
        finally:
            gc.enable()
