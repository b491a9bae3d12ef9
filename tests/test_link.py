"""A link and its transport: who counts as reading, and sockets whose peer has left already."""

import asyncio
import ipaddress
import os
import socket
import struct
from pathlib import Path

import pytest

from tests.hostile import Served
from tests.puppet import asynchronous, connection_config, eventually, mailserver
from wakumail.counters import Counters
from wakumail.keys import generate
from wakumail.link import MIN_PROGRESS, Link
from wakumail.node import Node, NodeConfig
from wakumail.peer import Event
from wakumail.roster import OwnRoster


class Wire(asyncio.Transport):
    """A transport whose peer reads as much as a test says."""

    def __init__(self, address: str = "192.0.2.1") -> None:
        super().__init__({"peername": (address, 1), "sockname": ("192.0.2.2", 2)})
        self.unread = 0
        self._closing = False
        self._reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return self.unread

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.unread += len(data)

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    def abort(self) -> None:
        self._closing = True


class Nobody:
    """Takes what a node has to tell."""

    def __init__(self) -> None:
        self.gone: list[Link] = []

    def on_event(self, link: Link, event: Event) -> None:
        pass

    def on_gone(self, link: Link) -> None:
        self.gone.append(link)


class Torn(OwnRoster):
    """A roster that nobody can be taken off."""

    def leave(self, node_id: bytes) -> None:
        raise OSError("no locks available")


@pytest.mark.parametrize("read", [MIN_PROGRESS - 1, MIN_PROGRESS])
@asynchronous
async def test_progress_is_what_the_peer_has_read(
    monkeypatch: pytest.MonkeyPatch, read: int
) -> None:
    """However much more was written meanwhile."""
    counters = Counters()
    node = Node(NodeConfig(connection_config(generate(os.urandom))), Nobody(), counters)
    link, wire = Link(node), Wire()
    link.connection_made(wire)
    link.peer.connection._shaking.outbox.append(bytes(1 << 20))
    link.flush()
    monkeypatch.setattr("wakumail.link.WRITE_TIMEOUT", 0.0)
    link.pause_writing()
    monkeypatch.setattr("wakumail.link.WRITE_TIMEOUT", 60.0)
    link.peer.connection._shaking.outbox.append(bytes(1 << 20))
    link.flush()
    wire.unread -= read
    looked: list[None] = []
    asyncio.get_running_loop().call_later(0, looked.append, None)
    await eventually(lambda: bool(looked))
    assert counters["connections_stalled"] == (read < MIN_PROGRESS)
    link.connection_lost(None)


@asynchronous
async def test_all_hear_of_an_end_that_the_roster_fails_to_note() -> None:
    handler = Nobody()
    config = NodeConfig(connection_config(generate(os.urandom)), roster=Torn())
    node = Node(config, handler, Counters())
    link = Link(node)
    link.connection_made(Wire())
    node.links[link.node_id] = link
    link.ready = True
    with pytest.raises(OSError, match="no locks available"):
        link.connection_lost(None)
    async with asyncio.timeout(1):
        await link.gone()
        await node.close()
    assert handler.gone == [link]


@asynchronous
async def test_sockets_whose_peer_has_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They have no address; nothing of them stays, neither in the node nor in the log."""
    networks = (ipaddress.ip_network("127.0.0.0/8"),)
    async with mailserver(tmp_path, node={"networks": networks}) as (server, enode):
        served = await Served.connect(enode)
        for _ in range(20):
            with socket.create_connection((enode.host, enode.port)) as gone:
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await eventually(lambda: server.counters["connections_accepted"] == 2 + 20)
        await eventually(lambda: len(server.node._sockets) == 2)
        await served.check()
    assert not caplog.records
