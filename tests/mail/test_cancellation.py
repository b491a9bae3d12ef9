"""A cancelled history leaves the connection usable, and the rest of its answer is dropped."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from tests.support.envelopes import make, newest_first
from tests.support.patience import asynchronous, eventually, turns
from tests.support.scripted import Scripted, archive_of, complete, packet, scripted
from wakumail.errors import AnswerTimeout, DisconnectReason, PeerGone
from wakumail.mail.answer import HistoryPage, Wanted
from wakumail.mail.client import MailPeer, connect
from wakumail.mail.mailservers import Mailservers, mailservers
from wakumail.mail.request import Request
from wakumail.node.link import Link
from wakumail.waku.envelope import Envelope

TOPIC = b"topi"
NOW = int(time.time())
WANTED = Wanted(NOW - 3600, NOW + 3600, (TOPIC,), limit=100)
OLD = make(20, [TOPIC], seed=1)
NEW = make(30, [TOPIC], seed=2)


class Slow(Scripted):
    """Sends half of the answer to the first request at once, and the rest when told."""

    def __init__(self) -> None:
        super().__init__(self._answer, None)
        self._kept: tuple[Link, Request]

    def _answer(self, link: Link, request: Request) -> None:
        if len(self.requests) > 1:
            archive_of(NEW)(link, request)
            return
        self._kept = link, request
        link.peer.deliver_history(packet(OLD[:10]))

    def finish(self) -> None:
        """Send the rest."""
        link, request = self._kept
        link.peer.deliver_history(packet(OLD[10:]))
        complete(link, request)
        link.outbox.flush()

    def leave(self) -> None:
        """Disconnect instead."""
        self._kept[0].disconnect(DisconnectReason.QUITTING)


@asynccontextmanager
async def slow() -> AsyncIterator[tuple[MailPeer, Slow]]:
    """A client and a mailserver that is slow."""
    server = Slow()
    async with scripted(server=server), connect(server.enode) as peer:
        yield peer, server


async def time_out(coroutine: Coroutine[Any, Any, Any], when: Callable[[], bool]) -> None:
    """Await a coroutine with a timeout of the caller, which ends once `when` holds."""
    reached = asyncio.create_task(eventually(when))
    try:
        async with asyncio.timeout(None) as timeout:
            reached.add_done_callback(lambda _: timeout.reschedule(0.0))
            await coroutine
    except TimeoutError:
        await reached
    else:
        pytest.fail("it ended before")


async def cancel(peer: MailPeer, server: Slow) -> None:
    """Ask, and cancel the request in the middle of its answer."""
    request = asyncio.create_task(peer.request(WANTED))
    await eventually(lambda: peer._answer is not None and peer._answer.count == 10)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request


async def fetch(asked: MailPeer | Mailservers) -> list[Envelope]:
    pages = asked.history(lower=NOW - 3600, topics=[TOPIC], limit=30)
    return [envelope async for page in pages for envelope in page.envelopes]


@asynchronous
async def test_a_late_answer_is_not_taken_for_the_next() -> None:
    """The next request waits for its end, and gets only its own envelopes."""
    async with slow() as (peer, server):
        await cancel(peer, server)
        again = asyncio.create_task(fetch(peer))
        await eventually(lambda: peer._asking == 1)
        await turns()
        assert len(server.requests) == 1
        server.finish()
        assert await again == newest_first(NEW)
        assert not peer.gone


@asynchronous
async def test_an_answer_that_ended_meanwhile_costs_nothing() -> None:
    async with slow() as (peer, server):
        await cancel(peer, server)
        server.finish()
        await eventually(lambda: not peer._link.peer.expects_history)
        assert await fetch(peer) == newest_first(NEW)


@asynchronous
async def test_a_timeout_of_the_caller() -> None:
    async with slow() as (peer, server):
        await time_out(fetch(peer), lambda: len(server.requests) == 1)
        again = asyncio.create_task(fetch(peer))
        await eventually(lambda: peer._asking == 1)
        server.finish()
        assert await again == newest_first(NEW)


@asynchronous
async def test_one_who_waits_for_a_late_answer_is_cancelled_too() -> None:
    async with slow() as (peer, server):
        await cancel(peer, server)
        for _ in range(2):
            await time_out(fetch(peer), lambda: peer._asking == 1)
        server.finish()
        assert await fetch(peer) == newest_first(NEW)
        assert len(server.requests) == 2


@asynchronous
async def test_one_who_waits_for_its_turn_asks_nothing() -> None:
    async with slow() as (peer, server):
        first = asyncio.create_task(fetch(peer))
        await eventually(lambda: len(server.requests) == 1)
        await time_out(fetch(peer), lambda: peer._asking == 2)
        server.finish()
        assert await first == OLD
        assert len(server.requests) == 1


@pytest.mark.parametrize("closing", [True, False], ids=["aclose", "break"])
@asynchronous
async def test_leaving_the_loop(closing: bool) -> None:
    """Between two pages no request is open, so nothing is left to wait for."""
    async with scripted(archive_of(NEW)) as server, connect(server.enode) as peer:
        pages = peer.history(lower=NOW - 3600, topics=[TOPIC], limit=10)
        first: HistoryPage
        if closing:
            async with aclosing(pages):
                first = await anext(pages)
        else:
            async for page in pages:
                first = page
                break
            del pages
            gc.collect()
        assert await fetch(peer) == newest_first(NEW)
        rest = peer.history(lower=NOW - 3600, topics=[TOPIC], limit=10, cursor=first.cursor)
        found = [envelope async for page in rest for envelope in page.envelopes]
        assert found == newest_first(NEW)[10:]
        assert len(server.requests) == 1 + 1 + 2


@asynchronous
async def test_a_late_answer_that_never_ends() -> None:
    async with slow() as (peer, server):
        await cancel(peer, server)
        assert peer._answer is not None
        peer._answer._timeout = 0.05
        with pytest.raises(AnswerTimeout, match="did not end its last answer"):
            await peer.request(WANTED)
        with pytest.raises(PeerGone, match="by us: useless peer"):
            await peer.request(WANTED)


@asynchronous
async def test_a_mailserver_that_leaves_instead(caplog: pytest.LogCaptureFixture) -> None:
    """The next request raises PeerGone, and asyncio logs no exception that nobody retrieved."""
    async with slow() as (peer, server):
        await cancel(peer, server)
        server.leave()
        await eventually(lambda: peer.gone)
        with pytest.raises(PeerGone, match="by the peer: quitting"):
            await peer.request(WANTED)
    gc.collect()
    assert not caplog.records


@asynchronous
async def test_too_much_of_a_late_answer() -> None:
    """The limit of the request holds, though nothing of the answer is kept."""
    async with slow() as (peer, server):
        await cancel(peer, server)
        link, _ = server._kept
        for seed in range(3, 13):
            link.peer.deliver_history(packet(make(10, [TOPIC], seed=seed)))
            link.outbox.flush()
        with pytest.raises(PeerGone, match="more than the 100 envelopes"):
            await peer.request(WANTED)


@asynchronous
async def test_one_of_two_histories_of_the_same_mailserver() -> None:
    """The other goes on after the late answer."""
    server = Slow()
    async with scripted(server=server), mailservers([server.enode]) as servers:
        cancelled = asyncio.create_task(fetch(servers))
        await eventually(lambda: len(server.requests) == 1)
        other = asyncio.create_task(fetch(servers))
        await eventually(lambda: servers._peers[server.enode]._asking == 2)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        server.finish()
        assert await other == newest_first(NEW)
        assert servers.connected == (server.enode,)


@asynchronous
async def test_an_answer_that_comes_as_it_is_cancelled() -> None:
    """Both in the same turn of the loop: the next request does not wait."""
    async with slow() as (peer, server):
        request = asyncio.create_task(peer.request(WANTED))
        await eventually(lambda: len(server.requests) == 1)
        assert peer._answer is not None
        server.finish()
        await asyncio.wait([peer._answer.completed])
        request.cancel()
        await asyncio.wait([request])
        assert await fetch(peer) == newest_first(NEW)
