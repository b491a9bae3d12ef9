"""A listening socket accepts callers while there are sockets; those that wait take turns."""

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support.patience import asynchronous, eventually, turns
from wakumail.node.acceptor import MAX_PARKED, Acceptor


class Called(asyncio.Protocol):
    """Counts the connections."""

    count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        type(self).count += 1
        transport.close()


class Exhausted(socket.socket):
    """The socket of a process without descriptors, until `left` is True."""

    left = False

    def accept(self) -> tuple[socket.socket, object]:
        if not self.left:
            raise OSError(errno.EMFILE, "too many open files")
        return super().accept()


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[Exhausted]:
    monkeypatch.setattr(Called, "count", 0)
    with Exhausted() as own:
        own.bind(("127.0.0.1", 0))
        own.listen()
        yield own


def accepting(own: socket.socket, slots: int = 1000) -> Acceptor:
    """An acceptor where this number of connections may begin."""

    def has_slot(host: str) -> bool:
        assert host == "127.0.0.1"
        return Called.count < slots

    return Acceptor(own, Called, has_slot, lambda: None)


@asynchronous
async def test_closing_waits_for_who_was_taken(own: Exhausted) -> None:
    own.left = True
    acceptor = accepting(own)
    with closing(socket.create_connection(own.getsockname())):
        while not acceptor._taking:
            await turns(1)
        acceptor.close()
        await acceptor.wait_closed()
        assert Called.count == 1


@asynchronous
async def test_goes_on_when_there_are_sockets_again(
    own: Exhausted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("wakumail.node.acceptor.RETRY_INTERVAL", 0.0)
    acceptor = accepting(own)
    with closing(socket.create_connection(own.getsockname())):
        await eventually(lambda: bool(caplog.records))
        assert not Called.count
        own.left = True
        await eventually(lambda: Called.count == 1)
    acceptor.close()
    assert "too many open files" in caplog.text


@asynchronous
async def test_callers_that_leave_make_no_sockets(
    own: Exhausted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The next attempt comes after RETRY_INTERVAL, whatever happens to those that are parked."""
    monkeypatch.setattr("wakumail.node.acceptor.RETRY_INTERVAL", 3600.0)
    own.left = True
    sockets, acceptor = await parked(own, 2)
    own.left = False
    with closing(socket.create_connection(own.getsockname())):
        await eventually(lambda: bool(caplog.records))
        acceptor._has_slot = lambda host: True
        acceptor.begin_parked()
        await eventually(lambda: Called.count == 2)
        await turns()
    acceptor.close()
    assert len(caplog.records) == 1
    for caller in sockets:
        caller.close()


async def parked(own: socket.socket, callers: int) -> tuple[list[socket.socket], Acceptor]:
    """Callers of a host that has no slot for any."""
    acceptor = accepting(own, slots=0)
    sockets = []
    for number in range(callers):
        sockets.append(socket.create_connection(own.getsockname()))
        await eventually(lambda: acceptor._parked_count == min(number + 1, MAX_PARKED))  # noqa: B023
    return sockets, acceptor


@asynchronous
async def test_who_waits_for_a_slot_begins_when_there_is_one(own: Exhausted) -> None:
    own.left = True
    sockets, acceptor = await parked(own, 3)
    assert not Called.count
    acceptor.begin_parked()
    await turns()
    assert acceptor._parked_count == 3
    acceptor._has_slot = lambda host: Called.count < 2
    acceptor.begin_parked()
    await eventually(lambda: Called.count == 2)
    await turns()
    assert acceptor._parked_count == 1
    acceptor.close()
    assert sockets[2].recv(1) == b"", "its socket is closed"
    await acceptor.wait_closed()
    for caller in sockets:
        caller.close()


@asynchronous
async def test_hosts_that_wait_take_turns(own: Exhausted) -> None:
    """A newcomer is behind one caller of each host that waits, and not behind all of them."""
    own.left = True
    slots, order = 0, list[str]()

    def has_slot(host: str) -> bool:
        return len(order) < slots

    acceptor = Acceptor(own, Called, has_slot, lambda: None)

    def note(taken: socket.socket) -> None:
        with closing(taken):
            order.append(taken.getpeername()[0])

    acceptor._begin = note  # type: ignore[method-assign]
    sockets = []
    for number, host in enumerate([*[1] * 4, *[2] * 4, 3], 1):
        caller = socket.create_connection(own.getsockname(), source_address=(f"127.0.0.{host}", 0))
        sockets.append(caller)
        await eventually(lambda: acceptor._parked_count == number)  # noqa: B023
    while acceptor._parked_count:
        slots = len(order) + 1
        acceptor.begin_parked()
        await eventually(lambda: len(order) >= slots)  # noqa: B023
    assert [int(host[-1]) for host in order] == [1, 2, 3, 1, 2, 1, 2, 1, 2]
    acceptor.close()
    for caller in sockets:
        caller.close()


@asynchronous
async def test_when_each_that_waits_is_of_another_host_the_next_wait_in_the_backlog(
    own: Exhausted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them is closed for a newcomer, and none is forgotten."""
    monkeypatch.setattr("wakumail.node.acceptor.MAX_PARKED", 3)
    own.left = True
    slots = 0
    acceptor = Acceptor(own, Called, lambda host: Called.count < slots, pytest.fail)
    sockets = [
        socket.create_connection(own.getsockname(), source_address=(f"127.0.0.{number}", 0))
        for number in range(1, 7)
    ]
    await eventually(lambda: acceptor._parked_count == 3)
    await turns()
    assert acceptor._parked_count == 3
    slots = 4
    acceptor.begin_parked()
    await eventually(lambda: Called.count >= 4)
    slots = 6
    acceptor.begin_parked()
    await eventually(lambda: Called.count == 6)
    acceptor.close()
    for caller in sockets:
        caller.close()


@asynchronous
async def test_of_those_who_wait_the_newest_of_the_most_is_closed(
    own: Exhausted, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.left = True
    monkeypatch.setattr("wakumail.node.acceptor.MAX_PARKED", 3)
    crowded_out: list[None] = []
    sockets, acceptor = await parked(own, 3)
    acceptor._on_crowded_out = lambda: crowded_out.append(None)
    with closing(socket.create_connection(own.getsockname())) as last:
        await eventually(lambda: bool(crowded_out))
        assert last.recv(1) == b""
    assert acceptor._parked_count == 3
    acceptor.close()
    for caller in sockets:
        caller.close()


@asynchronous
async def test_descriptors_are_left_for_others(
    own: Exhausted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A caller whose descriptor is too great is closed; a parked one makes room for it before."""
    monkeypatch.setattr("wakumail.node.acceptor.RETRY_INTERVAL", 3600.0)
    own.left = True
    crowded, refused = [], []
    with socket.socket() as caller, socket.socket() as next_caller:
        acceptor = Acceptor(
            own,
            Called,
            lambda host: False,
            lambda: crowded.append(1),
            max_descriptor=free_descriptor() + 1,
            on_no_files=lambda: refused.append(1),
        )
        caller.connect(own.getsockname())
        await eventually(lambda: acceptor._parked_count == 1)
        next_caller.connect(own.getsockname())
        await eventually(lambda: bool(crowded))
        assert (acceptor._parked_count, refused) == (1, [])
        acceptor._max_descriptor = 0
        with closing(socket.create_connection(own.getsockname())):
            await eventually(lambda: bool(refused))
        acceptor.close()
    assert "the files that are left are for the operator" in caplog.text


def free_descriptor() -> int:
    """The lowest descriptor that is free."""
    with socket.socket() as free:
        return free.fileno()
