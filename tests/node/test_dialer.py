"""Named peers are kept connected, whatever happens to them, and are never flooded with dials."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.networks import free_port
from tests.support.patience import PATIENCE, asynchronous, eventually
from tests.support.puppet import connection_config, mailserver, node_config
from wakumail.counters import Counters
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import PrivateKey, generate, node_id
from wakumail.errors import DisconnectReason
from wakumail.node import dialer as dialer_module
from wakumail.node.dialer import Dialer, _Slots
from wakumail.node.link import Link
from wakumail.node.node import Node
from wakumail.waku.peer_events import PeerEvent


class Quiet:
    """The handler of a node that does nothing."""

    def on_event(self, link: Link, event: PeerEvent) -> None: ...

    def on_writable(self, link: Link) -> None: ...

    def on_gone(self, link: Link) -> None: ...


async def fails(node: Node, times: int) -> None:
    """Wait until `times` more dials of a node have failed."""
    already = node.counters["dials_failed"]
    await eventually(lambda: node.counters["dials_failed"] >= already + times)


@asynccontextmanager
async def dialing() -> AsyncIterator[tuple[Dialer, Node]]:
    counters = Counters()
    node = Node(node_config(connection_config(generate(os.urandom))), Quiet(), counters)
    dialer = Dialer(node, counters)
    try:
        yield dialer, node
    finally:
        await dialer.close()
        await asyncio.wait_for(node.close(), PATIENCE)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialer_module, "MIN_REDIAL_DELAY", 0.01)
    monkeypatch.setattr(dialer_module, "MAX_REDIAL_DELAY", 0.02)


def nobody(port: int) -> Enode:
    """The enode of a node that does not exist."""
    return Enode(node_id(generate(os.urandom).public_key), "127.0.0.1", port, port)


def nobody_yet() -> tuple[PrivateKey, Enode]:
    """The key and the enode of a mailserver that is started later."""
    key = generate(os.urandom)
    return key, replace(nobody(free_port()), node_id=node_id(key.public_key))


async def connected(node: Node) -> Link:
    await eventually(lambda: any(link.ready for link in node.links.values()))
    return next(iter(node.links.values()))


@asynchronous
async def test_a_named_peer_is_connected_and_connected_again(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode), dialing() as (dialer, node):
        dialer.add(enode)
        assert set(dialer.targets) == {enode.node_id}
        for _ in range(3):
            link = await connected(node)
            assert link.dial is not None
            assert link.dial.enode == enode
            assert not link.inbound
            next(iter(server.node.links.values())).disconnect(DisconnectReason.REQUESTED)
            await asyncio.wait_for(link.gone(), PATIENCE)
        await connected(node)
        assert node.counters["dials"] >= 4


@asynchronous
async def test_the_node_itself_is_known_by_its_id_and_not_by_its_address(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        with pytest.raises(ValueError, match="it is the id of this node itself"):
            server.dialer.add(replace(enode, host="192.0.2.1"))
        server.dialer.add(nobody(enode.port))
        await fails(server.node, 1)
        assert enode.node_id not in server.dialer.targets


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_unspecified_address_is_not_dialed(host: str) -> None:
    async def check() -> None:
        async with dialing() as (dialer, _):
            with pytest.raises(ValueError, match=f"{host} is no address of a node"):
                dialer.add(replace(nobody(1), host=host))
            assert not dialer.targets

    asyncio.run(check())


@asynchronous
async def test_the_hello_tells_the_port_that_the_system_chose(tmp_path: Path) -> None:
    async with mailserver(tmp_path / "1") as (one, enode), mailserver(tmp_path / "2") as (other, _):
        one.dialer.add(other.enode)
        link = await connected(other.node)
        assert link.peer.hello is not None
        assert link.peer.hello.listen_port == enode.port


@asynchronous
async def test_a_dial_takes_none_of_the_files_of_the_operator(tmp_path: Path) -> None:
    """Nodes that were named used up all, and nobody could ask the server what was wrong."""
    async with mailserver(tmp_path) as (server, enode), dialing() as (_, node):
        node.config = replace(node.config, max_descriptor=0)
        with pytest.raises(OSError, match="for the operator"):
            await node.dial(enode)
        assert node.counters["connections_refused_files"] == 1
        await eventually(lambda: not node._sockets)
        node.config = replace(node.config, max_descriptor=None)
        await node.dial(enode)
        assert server.counters["connections_accepted"] == 2


@asynchronous
async def test_a_peer_that_is_not_there_is_dialed_until_it_is(tmp_path: Path) -> None:
    key, enode = nobody_yet()
    async with dialing() as (dialer, node):
        dialer.add(enode)
        await eventually(lambda: node.counters["dials_failed"] >= 3)
        async with mailserver(tmp_path / "second", connection={"node_key": key}, port=enode.port):
            await connected(node)


@asynchronous
async def test_who_cannot_be_reached_is_warned_of_once_until_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, enode = nobody_yet()
    async with dialing() as (dialer, node):
        dialer.add(enode)
        for number in range(1, 3):
            await fails(node, 3)
            warned = [r.message for r in caplog.records if r.levelname == "WARNING"]
            assert warned == [f"{enode.address} cannot be reached: Connection refused"] * number
            own, port = {"node_key": key}, enode.port
            async with mailserver(tmp_path / str(number), connection=own, port=port):
                await connected(node)


@asynchronous
async def test_who_called_us_first_is_not_dialed(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode), dialing() as (dialer, node):
        await node.dial(enode)
        own_id = node_id(node.config.connection.node_key.public_key)
        await eventually(lambda: own_id in server.node.links)
        server.dialer.add(Enode(own_id, "127.0.0.1", 1, 1))
        link = server.node.links[own_id]
        dialer.add(enode)
        await asyncio.sleep(0)
        assert server.counters["dials"] == node.counters["dials"] == 0
        link.disconnect(DisconnectReason.REQUESTED)
        await eventually(lambda: server.counters["dials"] + node.counters["dials"] > 0)


@asynchronous
async def test_a_dial_that_lost_to_the_call_of_the_peer_is_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two nodes that name each other dial at the same time: one connection of both stays."""
    async with mailserver(tmp_path) as (_, enode), dialing() as (dialer, node):
        first = await node.dial(enode)
        assert await dialer._dial(enode, logging.WARNING) is first
        assert first.closed is None
        assert not [each for each in caplog.records if each.levelname == "WARNING"]


@asynchronous
async def test_removing_a_peer_parts_from_it(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode), dialing() as (dialer, node):
        dialer.add(enode)
        link = await connected(node)
        dialer.remove(enode.node_id)
        await asyncio.wait_for(link.gone(), PATIENCE)
        assert not dialer.targets
        dialer.remove(enode.node_id)
        assert node.counters["dials"] == 1
        await eventually(lambda: not server.node.links)


@asynchronous
async def test_dials_in_progress_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers that accept a connection and say nothing hold one slot each, and no more."""
    monkeypatch.setattr(dialer_module, "MAX_DIALS", 3)
    calls: list[asyncio.StreamWriter] = []

    def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(writer)

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with dialing() as (dialer, node):
        for _ in range(10):
            dialer.add(nobody(port))
        await eventually(lambda: len(calls) == 3)
        await asyncio.sleep(0)
        assert node.counters["dials"] == 3
    for writer in calls:
        writer.close()
    listener.close()
    await listener.wait_closed()


@pytest.mark.parametrize("later", [False, True])
@asynchronous
async def test_a_waiter_that_is_cancelled_gives_its_turn_to_the_next(later: bool) -> None:
    """Cancelled before its turn comes, at the same moment, or after it was told."""
    slots = _Slots(1)
    began: list[int] = []

    async def dial(number: int) -> None:
        async with slots:
            began.append(number)
            await held.wait()

    held = asyncio.Event()
    tasks = [asyncio.create_task(dial(number)) for number in range(6)]
    await eventually(lambda: began == [0])
    tasks[1].cancel()  # the slot goes free before it has ended
    if later:
        await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    tasks[2].cancel()  # its turn has come, if it had not yet been told
    tasks[4].cancel()
    held.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert began in ([0, 3, 5], [0, 2, 3, 5])
    async with slots:
        assert slots._free == 0
    assert slots._free == 1
    assert not slots._waiting


@asynchronous
async def test_delays_grow_and_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialer_module, "MAX_REDIAL_DELAY", 0.3)
    asked: list[float] = []

    def widest(low: float, high: float) -> float:
        asked.append(high)
        return high

    monkeypatch.setattr("random.uniform", widest)
    slept: list[float] = []
    sleep = asyncio.sleep

    async def count(delay: float) -> None:
        if delay >= 0.01:
            slept.append(delay)
        await sleep(0)

    monkeypatch.setattr("wakumail.node.dialer.asyncio.sleep", count)
    async with dialing() as (dialer, node):
        dialer.add(nobody(1))
        await eventually(lambda: len(slept) >= 8)
    assert slept[:8] == [0.01, 0.02, 0.04, 0.08, 0.16, 0.3, 0.3, 0.3]
    assert node.counters["dials_failed"] >= 8


@pytest.mark.parametrize("late", [False, True])
@asynchronous
async def test_a_dial_that_is_cancelled_as_it_connects_leaves_no_socket(
    monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """A socket that is left would never end, and a server that stops waits for all sockets."""
    gone = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        gone.set()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with silent, dialing() as (_, node):
        dial = asyncio.ensure_future(node.dial(nobody(silent.sockets[0].getsockname()[1])))
        admit = node.admit_socket

        def admit_and_cancel(link: Link) -> None:
            admit(link)
            if late:
                asyncio.get_running_loop().call_soon(dial.cancel)
            else:
                dial.cancel()

        monkeypatch.setattr(node, "admit_socket", admit_and_cancel)
        with pytest.raises(asyncio.CancelledError):
            await dial
        await eventually(lambda: not node._sockets)
        await asyncio.wait_for(gone.wait(), PATIENCE)


@asynchronous
async def test_a_dial_that_is_cancelled_before_it_fails() -> None:
    async with dialing() as (_, node):
        dial = asyncio.ensure_future(node.dial(nobody(1)))
        await asyncio.sleep(0)
        dial.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dial
        await eventually(lambda: len(asyncio.all_tasks()) == 1)
