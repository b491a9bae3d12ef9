"""Several mailservers: the choice among them, failover, and no envelope twice."""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.envelopes import make, newest_first
from tests.support.patience import asynchronous, eventually
from tests.support.scripted import (
    OnRequest,
    Scripted,
    archive_of,
    nobody,
    refuse,
    scripted,
    several,
    silent,
    stall,
)
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import generate, node_id
from wakumail.errors import DisconnectReason
from wakumail.mail import mailservers as module
from wakumail.mail.answer import RequestRefused
from wakumail.mail.client import MailPeer, connect
from wakumail.mail.mailservers import (
    WINDOW,
    WINDOW_REST,
    Mailservers,
    NoMailserver,
    mailservers,
    windows,
)
from wakumail.mail.request import UPPER_MARGIN, Request
from wakumail.node.link import Link
from wakumail.waku.envelope import Envelope, make_envelope
from wakumail.waku.message import seal

TOPIC = b"topi"
NOW = int(time.time())
ENVELOPES = make(30, [TOPIC])


def leave(link: Link, request: Request) -> None:
    link.disconnect(DisconnectReason.QUITTING)


def leave_after_a_page(envelopes: Sequence[Envelope]) -> OnRequest:
    """Answers the first request of a connection and disconnects at the second."""
    archive = archive_of(envelopes)

    def answer(link: Link, request: Request) -> None:
        (leave if request.cursor else archive)(link, request)

    return answer


async def fetch(servers: Mailservers, **choices: Any) -> list[Envelope]:
    """All envelopes of a history."""
    wanted: dict[str, Any] = {"lower": NOW - 3600, "topics": [TOPIC], "limit": 10}
    pages = servers.history(**wanted | choices)
    return [envelope async for page in pages for envelope in page.envelopes]


def enodes(servers: Sequence[Scripted]) -> list[Enode]:
    return [server.enode for server in servers]


@asynchronous
async def test_the_first_is_asked_and_no_other() -> None:
    async with several(archive_of(ENVELOPES), archive_of([])) as both:
        async with mailservers(str(server.enode) for server in both) as servers:
            assert await fetch(servers) == newest_first(ENVELOPES)
            assert servers.connected == (both[0].enode,)
        assert (len(both[0].requests), len(both[1].requests)) == (3, 0)


@asynchronous
async def test_one_that_is_not_there() -> None:
    async with (
        scripted(archive_of(ENVELOPES)) as server,
        mailservers([nobody(), server.enode]) as servers,
    ):
        assert await fetch(servers) == newest_first(ENVELOPES)


@asynchronous
async def test_those_that_nobody_can_mean_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    key = generate(os.urandom)
    oneself = replace(nobody(), node_id=node_id(key.public_key))
    nowhere = replace(nobody(), host="0.0.0.0")
    async with scripted(archive_of(ENVELOPES)) as server:
        listed = [oneself, nowhere, server.enode]
        async with mailservers(listed, node_key=key) as servers:
            assert await fetch(servers) == newest_first(ENVELOPES)
    assert [record.message for record in caplog.records] == [
        f"mailserver {oneself.address} is left out: it has the id of the client itself",
        f"mailserver {nowhere.address} is left out: 0.0.0.0 is no address of a node",
    ]
    for only in (oneself, nowhere):
        with pytest.raises(ValueError, match=r"itself|no address"):
            async with mailservers([only], node_key=key):
                pass
        with pytest.raises(ValueError, match=r"itself|no address"):
            async with connect(only, node_key=key):
                pass


@pytest.mark.parametrize("failure", [refuse, leave, leave_after_a_page(ENVELOPES)])
def test_one_that_fails(failure: OnRequest) -> None:
    """The next is asked for the whole window, without the cursor, and no envelope comes twice."""

    async def check() -> None:
        async with several(failure, archive_of(ENVELOPES)) as both:
            async with mailservers(enodes(both)) as servers:
                assert await fetch(servers) == newest_first(ENVELOPES)
                assert servers.connected == (both[1].enode,)
            assert both[1].requests[0].cursor == b""
            assert both[1].requests[0].upper == both[0].requests[0].upper

    asyncio.run(check())


@asynchronous
async def test_those_that_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    """One stalls before its hello, one after a request."""
    async with several(stall, archive_of(ENVELOPES)) as both:
        with silent() as enode:

            class Impatient(MailPeer):
                """Waits a moment where it would wait for ever."""

                async def open(self) -> None:
                    if self.enode == enode:
                        self.answer_timeout = 0.05
                    await super().open()
                    if self.enode == both[0].enode:
                        self.answer_timeout = 0.05

            monkeypatch.setattr(module, "MailPeer", Impatient)
            async with mailservers([enode, *enodes(both)]) as servers:
                assert await fetch(servers) == newest_first(ENVELOPES)
        assert both[0].requests


@asynchronous
async def test_what_the_failed_one_did_not_have_comes_too() -> None:
    some = newest_first(ENVELOPES)[5:25]
    async with (
        several(leave_after_a_page(some), archive_of(ENVELOPES)) as both,
        mailservers(enodes(both)) as servers,
    ):
        got = await fetch(servers)
    assert got[:10] == some[:10]
    assert sorted(e.hash for e in got) == sorted(e.hash for e in ENVELOPES)


@asynchronous
async def test_messages_stay_with_their_envelopes_when_some_are_left_out() -> None:
    key = bytes(32)
    sealed = {
        make_envelope(NOW + n, 50, TOPIC, seal(b"%d" % n, key=key, random=os.urandom), 0): b"%d" % n
        for n in range(30)
    }
    found = {}
    async with (
        several(leave_after_a_page([*sealed][::2]), archive_of([*sealed])) as both,
        mailservers(enodes(both)) as servers,
    ):
        pages = servers.history(lower=NOW - 3600, topics=[TOPIC], limit=10, keys=[key])
        async for page in pages:
            for envelope, message in zip(page.envelopes, page.messages, strict=True):
                assert message is not None
                assert message.envelope == envelope
                found[envelope] = message.payload
    assert found == sealed


@asynchronous
async def test_what_is_remembered_is_bounded() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_SEEN_HASHES", 0)
        async with (
            several(leave_after_a_page(ENVELOPES), archive_of(ENVELOPES)) as both,
            mailservers(enodes(both)) as servers,
        ):
            assert len(await fetch(servers)) == 10 + 30


@asynchronous
async def test_all_fail() -> None:
    async with several(refuse, leave) as both:
        absent = nobody()
        async with mailservers([absent, *enodes(both)]) as servers:
            with pytest.raises(NoMailserver) as failed:
                await fetch(servers)
            assert servers.connected == ()
    text = str(failed.value)
    assert f"127.0.0.1:{both[0].enode.port}: not today" in text
    assert f"127.0.0.1:{both[1].enode.port}: disconnected by the peer: quitting" in text
    assert "127.0.0.1:1: " in text


@asynchronous
async def test_the_error_of_the_only_one() -> None:
    async with scripted(refuse) as server, mailservers([server.enode] * 2) as servers:
        with pytest.raises(RequestRefused, match="not today"):
            await fetch(servers)


@asynchronous
async def test_the_fastest(caplog: pytest.LogCaptureFixture) -> None:
    async with scripted(archive_of(ENVELOPES)) as server:
        with silent() as enode:
            candidates = [enode, nobody(), server.enode]
            async with mailservers(candidates, fastest=True) as servers:
                assert await fetch(servers) == newest_first(ENVELOPES)
                assert servers.connected == (server.enode,)
    assert f":{enode.port}: " not in caplog.text  # it was not waited for


@asynchronous
async def test_of_the_fastest_only_one_stays_connected() -> None:
    async with several(*[archive_of(ENVELOPES)] * 3) as three:
        async with mailservers(enodes(three), fastest=True) as servers:
            assert await fetch(servers) == newest_first(ENVELOPES)
            await eventually(lambda: sum(len(server.links) for server in three) == 1)
        await eventually(lambda: not any(server.links for server in three))


@asynchronous
async def test_the_fastest_fails_later() -> None:
    first: list[Link] = []

    def leave_if_first(link: Link, request: Request) -> None:
        first.append(link)
        (leave if link is first[0] else archive_of(ENVELOPES))(link, request)

    async with (
        several(leave_if_first, leave_if_first) as both,
        mailservers(enodes(both), fastest=True) as servers,
    ):
        assert await fetch(servers) == newest_first(ENVELOPES)


@asynchronous
async def test_a_long_range_is_asked_in_windows_newest_first() -> None:
    days = [make(12, [TOPIC], created=NOW - n * 86400, seed=n) for n in range(4)]
    everything = [envelope for day in days for envelope in day]
    async with (
        scripted(archive_of(everything)) as server,
        mailservers([server.enode]) as servers,
    ):
        assert await fetch(servers, lower=NOW - 4 * 86400) == newest_first(everything)
    spans = list(dict.fromkeys((r.lower, r.upper) for r in server.requests))
    assert len(spans) == 4
    assert spans[-1][0] == NOW - 4 * 86400
    assert all(newer[0] == older[1] + 1 for newer, older in pairwise(spans))
    assert all(upper - lower < WINDOW + WINDOW_REST for lower, upper in spans)


@asynchronous
async def test_one_that_fails_is_not_asked_again_while_another_serves() -> None:
    async with several(refuse, archive_of(ENVELOPES)) as both:
        async with mailservers(enodes(both)) as servers:
            assert len(await fetch(servers, lower=NOW - 3 * 86400)) == 30
        assert len(both[0].requests) == 1


@asynchronous
async def test_each_window_gives_every_mailserver_a_try() -> None:
    """The first fails in the first window, the second in the second window."""
    days = [make(5, [TOPIC], created=NOW - n * 86400, seed=n) for n in range(2)]
    archive = archive_of([*days[0], *days[1]])

    def at_first(link: Link, request: Request) -> None:
        (refuse if request.upper >= NOW else archive)(link, request)

    def later(link: Link, request: Request) -> None:
        (archive if request.upper >= NOW else leave)(link, request)

    async with several(at_first, later) as both, mailservers(enodes(both)) as servers:
        got = await fetch(servers, lower=NOW - 2 * 86400)
    assert got == newest_first([*days[0], *days[1]])


@asynchronous
async def test_histories_side_by_side() -> None:
    async with (
        several(leave_after_a_page(ENVELOPES), archive_of(ENVELOPES)) as both,
        mailservers(enodes(both)) as servers,
    ):
        for got in await asyncio.gather(*(fetch(servers) for _ in range(4))):
            assert got == newest_first(ENVELOPES)


@asynchronous
async def test_a_history_that_is_cancelled_does_not_spoil_the_next() -> None:
    def stall_at_first(link: Link, request: Request) -> None:
        (stall if len(server.requests) == 1 else archive_of(ENVELOPES))(link, request)

    async with scripted(stall_at_first) as server, mailservers([server.enode]) as servers:
        history = asyncio.create_task(fetch(servers))
        await eventually(lambda: len(server.requests) == 1)
        history.cancel()
        with pytest.raises(asyncio.CancelledError):
            await history
        assert servers.connected == ()
        assert await fetch(servers) == newest_first(ENVELOPES)


@asynchronous
async def test_a_cursor_goes_on_in_one_window_of_one_mailserver() -> None:
    async with scripted(archive_of(ENVELOPES)) as server:
        async with mailservers([server.enode]) as servers:
            pages = servers.history(lower=NOW - 3 * 86400, topics=[TOPIC], limit=10)
            cursor = (await anext(aiter(pages))).cursor
            rest = await fetch(servers, lower=NOW - 3 * 86400, cursor=cursor)
        assert rest == newest_first(ENVELOPES)[10:]
        assert server.requests[1].lower == NOW - 3 * 86400
        async with mailservers([server.enode, nobody()]) as servers:
            with pytest.raises(ValueError, match="mailserver that gave it"):
                await fetch(servers, cursor=cursor)


@asynchronous
async def test_none_is_no_choice() -> None:
    with pytest.raises(ValueError, match="no mailserver"):
        async with mailservers([]):
            pass


@given(
    lower=st.integers(0, 1 << 20),
    size=st.integers(0, 1 << 20),
    window=st.integers(1000, 1 << 17),
)
@settings(deadline=None)
def test_windows_cover_the_range_once(lower: int, size: int, window: int) -> None:
    spans = list(windows(lower, lower + size, window))
    assert spans[0][1] == lower + size
    assert spans[-1][0] == lower
    assert all(newer[0] == older[1] + 1 for newer, older in pairwise(spans))
    assert all(start <= end for start, end in spans)
    assert all(end - start + 1 == window for start, end in spans[:-1])
    assert spans[-1][1] - spans[-1][0] < window + WINDOW_REST


def test_a_day_and_a_little_is_one_window() -> None:
    assert len(list(windows(NOW - WINDOW, NOW + UPPER_MARGIN))) == 1


def test_a_range_that_is_none_is_left_to_the_mailserver() -> None:
    assert list(windows(10, 5)) == [(10, 5)]
