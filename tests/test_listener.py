"""A listening socket: takes who calls when it is wanted to, and goes on when there are sockets."""

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.puppet import asynchronous, eventually
from wakumail.listener import Listener


class Called(asyncio.Protocol):
    """Counts the connections."""

    count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        type(self).count += 1
        transport.close()


class Exhausted(socket.socket):
    """The socket of a process that has no descriptor left, until it has."""

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


@asynchronous
async def test_takes_whom_it_is_wanted_to(own: Exhausted) -> None:
    own.left = True
    listener = Listener(own, Called)
    listener.want(False)
    listener.want(False)
    with closing(socket.create_connection(own.getsockname())):
        for _ in range(10):
            await asyncio.sleep(0)
        assert not Called.count
        listener.want(True)
        await eventually(lambda: Called.count == 1)
    listener.close()
    listener.want(True)
    await listener.wait_closed()


@asynchronous
async def test_closing_waits_for_who_was_taken(own: Exhausted) -> None:
    own.left = True
    listener = Listener(own, Called)
    with closing(socket.create_connection(own.getsockname())):
        while not listener._taking:  # noqa: ASYNC110 - for one round of the loop
            await asyncio.sleep(0)
        listener.close()
        await listener.wait_closed()
        assert Called.count == 1


@asynchronous
async def test_goes_on_when_there_are_sockets_again(
    own: Exhausted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("wakumail.listener.RETRY_INTERVAL", 0.0)
    listener = Listener(own, Called)
    with closing(socket.create_connection(own.getsockname())):
        await eventually(lambda: bool(caplog.records))
        assert not Called.count
        own.left = True
        await eventually(lambda: Called.count == 1)
    listener.close()
    assert "too many open files" in caplog.text
