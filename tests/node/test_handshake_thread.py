"""Handshakes beside the loop: callers wait for each other, and connected peers for none of them."""

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.connections import ALICE, BOB, BOB_CONFIG, NOW, Side, deliver, transfer
from tests.support.exchanges import works
from tests.support.hostile import Served
from tests.support.patience import PATIENCE, asynchronous, eventually
from tests.support.puppet import Puppet, connection_config, mailserver
from tests.support.wires import opened
from wakumail.devp2p.connection import Connection
from wakumail.devp2p.connection_events import Closed, Established
from wakumail.devp2p.handshake import (
    MAX_HANDSHAKE_PACKET,
    HandshakeStep,
    Initiator,
    Response,
    StepResult,
    respond,
)
from wakumail.devp2p.keys import PrivateKey, Random
from wakumail.errors import DisconnectReason, HandshakeError, HandshakeTimeout
from wakumail.node.handshake_thread import (
    MAX_HOSTS_WAITING,
    MAX_STEPS_AHEAD,
    MAX_STEPS_OF_HOST,
)
from wakumail.node.link import Link, Wait
from wakumail.node.node import Node

AUTH = Initiator(ALICE, BOB.public_key, os.urandom).auth


class Door:
    """While it is shut, the handshakes of the server wait."""

    def __init__(self) -> None:
        self.knocked = 0
        """Handshakes that the thread has begun to compute."""
        self._opened = threading.Event()
        self.open = self._opened.set
        self.shut = self._opened.clear

    def respond(self, node_key: PrivateKey, auth: bytes, random: Random) -> Response:
        self.knocked += 1
        assert self._opened.wait(PATIENCE)
        return respond(node_key, auth, random)


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    door = Door()
    monkeypatch.setattr("wakumail.devp2p.handshake.respond", door.respond)
    yield door
    door.open()


def called(data: bytes = AUTH) -> tuple[Connection, HandshakeStep]:
    """A connection of Bob's that was called, and the step that it wants computed."""
    bob = Connection(BOB_CONFIG, os.urandom, NOW)
    deliver(bob, data)
    step = bob.next_event()
    assert isinstance(step, HandshakeStep)
    assert bob.next_event() is None
    return bob, step


def waiting_steps(node: Node) -> int:
    """Handshake steps that wait to be computed."""
    return sum(map(len, node.handshake_thread._waiting.values()))


def call(node: Node, link: Link) -> None:
    """Deliver an auth packet to a link of this node."""
    key = node.config.connection.node_key
    deliver(link, Initiator(ALICE, key.public_key, os.urandom).auth)


# -- steps of a connection ------------------------------------------------------------------------


def test_the_arithmetic_is_its_owners() -> None:
    bob, step = called()
    assert bob.data_to_send() == []
    computed = step.compute()
    assert bob.next_event() is None
    bob.handshake_computed(computed)
    assert bob.next_event() is None
    assert [bool(part) for part in bob.data_to_send()] == [True, True], "the ack, and our hello"


def test_what_is_wrong_is_an_answer_too() -> None:
    bob, step = called(AUTH[:-1] + bytes([AUTH[-1] ^ 1]))
    bob.handshake_computed(step.compute())
    closed = bob.next_event()
    assert isinstance(closed, Closed)
    assert isinstance(closed.error, HandshakeError)


def test_who_calls_computes_first() -> None:
    alice = Connection(connection_config(ALICE), os.urandom, NOW, BOB.public_key)
    assert alice.data_to_send() == []
    step = alice.next_event()
    assert isinstance(step, HandshakeStep)
    alice.handshake_computed(step.compute())
    (auth,) = alice.data_to_send()
    assert isinstance(respond(BOB, auth, os.urandom), Response)


def test_what_comes_before_the_auth_is_computed() -> None:
    """A packet that comes before the auth is sent cannot be an ack to it, and is refused."""
    alice = Connection(connection_config(ALICE), os.urandom, NOW, BOB.public_key)
    deliver(alice, AUTH)
    for _ in range(2):
        step = alice.next_event()
        assert isinstance(step, HandshakeStep)
        alice.handshake_computed(step.compute())
    assert isinstance(closed := alice.next_event(), Closed)
    assert isinstance(closed.error, HandshakeError)


def test_what_comes_meanwhile_waits() -> None:
    alice, bob = Side(connection_config(ALICE), BOB.public_key), Side(BOB_CONFIG)
    (auth,) = alice.connection.data_to_send()
    deliver(bob.connection, auth)
    step = bob.connection.next_event()
    assert isinstance(step, HandshakeStep)
    computed = step.compute()
    assert isinstance(computed, Response)
    alice.receive(computed.ack)
    deliver(bob.connection, alice.take())
    bob.connection.handshake_computed(computed)
    ack, hello = bob.connection.data_to_send()
    assert ack == computed.ack
    alice.receive(hello)
    transfer(alice, bob)
    assert isinstance(bob.events[-1], Established)
    assert isinstance(alice.events[-1], Established)


def test_no_more_comes_than_there_is_room_for() -> None:
    bob, step = called()
    deliver(bob, bytes(MAX_HANDSHAKE_PACKET - len(AUTH)))
    closed = bob.next_event()
    assert isinstance(closed, Closed)
    assert isinstance(closed.error, HandshakeError)
    bob.handshake_computed(step.compute())
    assert bob.next_event() is None


def test_an_end_does_not_wait() -> None:
    """The result of the step is dropped."""
    timed_out, left, disconnected = [called() for _ in range(3)]
    timed_out[0].handle_timer(NOW + BOB_CONFIG.handshake_timeout)
    left[0].eof(NOW)
    disconnected[0].disconnect(DisconnectReason.QUITTING)
    for bob, step in (timed_out, left, disconnected):
        closed = bob.next_event()
        assert isinstance(closed, Closed)
        assert isinstance(closed.error, HandshakeTimeout) == (bob is timed_out[0])
        bob.handshake_computed(step.compute())
        assert bob.next_event() is None
        assert bob.data_to_send() == []


def test_who_is_refused_unseen_was_never_there() -> None:
    """The end of a connection comes in place of events that were not pulled."""
    bob, step = called()
    bob.handshake_computed(step.compute())
    bob.disconnect(DisconnectReason.QUITTING)
    assert bob.next_event() == Closed(DisconnectReason.QUITTING, by_peer=False)
    assert bob.next_event() is None


# -- many at once ---------------------------------------------------------------------------------


async def greeted(puppets: list[Puppet]) -> None:
    """Wait until all are admitted."""
    await asyncio.gather(*(puppet.until(Established) for puppet in puppets))


@asynchronous
async def test_a_storm_starves_nobody(tmp_path: Path, door: Door) -> None:
    """Callers that are many are parked."""
    door.open()
    async with mailserver(tmp_path) as (server, enode):
        served = await Served.connect(enode)
        door.shut()
        knocked = door.knocked
        callers = [
            await Puppet.dial(enode, source=f"127.1.0.{number}")
            for number in range(1, MAX_HOSTS_WAITING + MAX_STEPS_AHEAD + 21)
        ]
        node = server.node
        await eventually(lambda: waiting_steps(node) >= MAX_HOSTS_WAITING)
        for _ in range(3):
            await served.check()
        # Two more connections may have been accepted before the limit was reached.
        assert len(node._sockets) <= 2 + MAX_STEPS_AHEAD + MAX_HOSTS_WAITING + 2
        assert door.knocked == knocked + 1
        assert len(server.node.links) == 2
        door.open()
        await greeted(callers)
        assert len(server.node.links) == 2 + len(callers)
        assert server.counters["connections_crowded_out"] == 0


@asynchronous
async def test_hosts_take_turns(door: Door) -> None:
    """One that calls often makes no other wait."""
    hosts = ["192.0.2.1"] * 40 + ["192.0.2.2", "2001:db8::1"]
    node, links, _ = opened(hosts, max_handshakes=len(hosts))
    order: list[str] = []

    def note(link: Link, result: StepResult) -> None:
        order.append(link.address)
        Link.handshake_computed(link, result)

    for link in links:
        link.handshake_computed = partial(note, link)  # type: ignore[method-assign]
        call(node, link)
    door.open()
    await eventually(lambda: len(order) == len(links))
    last = max(map(order.index, ["192.0.2.2", "2001:db8::1"]))
    assert last <= 2 * MAX_STEPS_AHEAD
    for link in links:
        link.connection_lost(None)


@asynchronous
async def test_many_calls_of_one_host_leave_the_door_open_for_others(
    tmp_path: Path, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wakumail.node.admission.MAX_HANDSHAKES_OF_HOST", 3)
    async with mailserver(tmp_path) as (server, enode):
        crowd = [await Puppet.dial(enode) for _ in range(20)]
        (acceptor,) = server.node._acceptors
        await eventually(lambda: acceptor._parked_count == 17)
        other = await Puppet.dial(enode, source="127.0.0.2")
        await eventually(lambda: waiting_steps(server.node) == 4 - MAX_STEPS_AHEAD)
        door.open()
        await greeted([other, *crowd])
        assert server.counters["connections_crowded_out"] == 0


@pytest.mark.parametrize("hosts", [4, 8])
@asynchronous
async def test_a_few_hosts_shut_the_door_on_nobody(tmp_path: Path, door: Door, hosts: int) -> None:
    """Their callers beyond MAX_STEPS_OF_HOST are parked, and the next host has the next turn."""
    async with mailserver(tmp_path) as (server, enode):
        crowd = [
            await Puppet.dial(enode, source=f"127.0.1.{1 + number % hosts}")
            for number in range(hosts * (MAX_STEPS_OF_HOST + 10))
        ]
        other = await Puppet.dial(enode, source="127.0.0.99")
        waiting = server.node.handshake_thread._waiting
        await eventually(lambda: "127.0.0.99" in waiting)
        assert len(waiting) == hosts + 1
        door.open()
        await greeted([other, *crowd])
        assert server.counters["connections_crowded_out"] == 0


@asynchronous
async def test_a_host_has_room_while_few_of_its_steps_wait(door: Door) -> None:
    hosts = ["192.0.2.1"] * (MAX_STEPS_AHEAD + MAX_STEPS_OF_HOST)
    node, links, _ = opened(hosts, max_handshakes=len(hosts))
    thread = node.handshake_thread
    for link in links:
        assert thread.has_room("192.0.2.1")
        call(node, link)
    assert not thread.has_room("192.0.2.1")
    assert thread.has_room("192.0.2.2")
    links[-1].connection_lost(None)
    assert thread.has_room("192.0.2.1")
    door.open()
    await eventually(lambda: not thread._computing)
    for link in links[:-1]:
        link.connection_lost(None)


@asynchronous
async def test_while_many_hosts_wait_no_more_begin(door: Door) -> None:
    hosts = [f"198.51.100.{number}" for number in range(MAX_STEPS_AHEAD + MAX_HOSTS_WAITING)]
    node, links, _ = opened(hosts, max_handshakes=len(hosts))
    thread = node.handshake_thread
    for link in links[:-1]:
        call(node, link)
    assert thread.has_room(hosts[-2])
    assert thread.has_room("192.0.2.2")
    call(node, links[-1])
    assert not thread.has_room(hosts[-2])
    assert not thread.has_room("192.0.2.2")
    door.open()
    await eventually(lambda: not thread._computing)
    for link in links:
        link.connection_lost(None)


@asynchronous
async def test_a_hundred_hosts_shut_the_door_on_nobody(tmp_path: Path, door: Door) -> None:
    """A caller of another host has its turn after one of each of them, not after all of all."""
    hosts, calls = 100, 4
    async with mailserver(tmp_path) as (server, enode):
        crowd = [
            await Puppet.dial(enode, source=f"127.0.1.{1 + number % hosts}")
            for number in range(hosts * calls)
        ]
        (acceptor,) = server.node._acceptors
        await eventually(lambda: acceptor._parked_count >= (hosts - MAX_HOSTS_WAITING) * calls)
        other = await Puppet.dial(enode, source="127.0.0.99")
        await eventually(lambda: "127.0.0.99" in acceptor._parked)
        ahead = list(acceptor._parked).index("127.0.0.99")
        assert ahead <= hosts
        order: list[str] = []
        begin = acceptor._begin

        def note(taken: socket.socket) -> None:
            order.append(taken.getpeername()[0])
            begin(taken)

        acceptor._begin = note  # type: ignore[method-assign]
        door.open()
        await greeted([other, *crowd])
        assert order.index("127.0.0.99") <= ahead
        assert server.counters["connections_crowded_out"] == 0


@asynchronous
async def test_who_waits_too_long_is_not_computed(tmp_path: Path, door: Door) -> None:
    async with mailserver(tmp_path, connection={"handshake_timeout": 0.05}) as (server, enode):
        for _ in range(MAX_STEPS_AHEAD + 5):
            await Puppet.dial(enode)
        await eventually(lambda: server.counters["handshake_timeout"] == MAX_STEPS_AHEAD + 5)
        await eventually(lambda: not server.node._sockets)
        door.open()
        server.node._connection = connection_config(server.config.node.connection.node_key)
        await works(enode)
        assert door.knocked == MAX_STEPS_AHEAD + 1


@asynchronous
async def test_who_is_crowded_out_is_not_computed(tmp_path: Path, door: Door) -> None:
    """The thread still computes the steps that it has, for nothing."""
    async with mailserver(tmp_path, node={"max_handshakes": 3}) as (server, enode):
        callers = []
        for _ in range(MAX_STEPS_AHEAD + 6):
            callers.append(await Puppet.dial(enode))
            await eventually(lambda: server.counters["connections_accepted"] == len(callers))
            await eventually(
                lambda: (
                    server.node.handshake_thread._computing + waiting_steps(server.node)
                    == min(len(callers), MAX_STEPS_AHEAD + 3)
                )
            )
        assert server.counters["connections_crowded_out"] == MAX_STEPS_AHEAD + 3
        door.open()
        await greeted(callers[-3:])
        assert door.knocked == MAX_STEPS_AHEAD + 3
        assert len(server.node.links) == 3


@asynchronous
async def test_what_comes_too_late_touches_nothing(door: Door) -> None:
    node, links, wires = opened(["192.0.2.1"] * 3)
    for link in links:
        call(node, link)
    assert waiting_steps(node) == 3 - MAX_STEPS_AHEAD
    for link in links:
        link.disconnect(DisconnectReason.QUITTING)
        link.connection_lost(None)
    assert not node.handshake_thread._waiting
    door.open()
    await eventually(lambda: not node.handshake_thread._computing)
    assert [wire.unread for wire in wires] == [0, 0, 0]
    assert not node.links
    await node.close()
    assert door.knocked <= MAX_STEPS_AHEAD


@asynchronous
async def test_no_more_are_let_in_once_the_node_is_quiet(door: Door) -> None:
    node, (link,), _ = opened(["192.0.2.1"])
    call(node, link)
    node.quiesce()
    door.open()
    await eventually(lambda: not node.handshake_thread._computing)
    assert not node.links
    link.disconnect(DisconnectReason.QUITTING)
    assert link.closed == Closed(DisconnectReason.QUITTING, by_peer=False)
    assert not node.links
    link.connection_lost(None)
    await node.close()


@asynchronous
async def test_the_socket_is_not_read_meanwhile(door: Door) -> None:
    node, (link,), (wire,) = opened(["192.0.2.1"])
    assert wire.is_reading()
    call(node, link)
    assert not wire.is_reading()
    link.pause(Wait.NODE)
    link.resume(Wait.NODE)
    assert not wire.is_reading()
    door.open()
    await eventually(wire.is_reading)
    link.connection_lost(None)


@asynchronous
async def test_hanging_up_meanwhile(
    tmp_path: Path, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    async with mailserver(tmp_path) as (server, enode):
        for _ in range(MAX_STEPS_AHEAD + 3):
            (await Puppet.dial(enode)).hang_up()
        await eventually(lambda: server.counters["connections_accepted"] == MAX_STEPS_AHEAD + 3)
        door.open()
        await eventually(lambda: not server.node._sockets)
        await works(enode)
    assert not caplog.records
