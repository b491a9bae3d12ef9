"""Histories of several mailservers, put together."""

import asyncio
import os
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.envelopes import make, newest_first
from tests.support.patience import asynchronous, eventually
from tests.support.scripted import (
    OnRequest,
    archive_of,
    complete,
    nobody,
    packet,
    refuse,
    several,
    stall,
)
from wakumail.devp2p.enode import Enode
from wakumail.mail import history_progress
from wakumail.mail.mailservers import MAX_FAILED_WINDOWS, Mailservers, NoMailserver, mailservers
from wakumail.mail.merged_history import MergedPage
from wakumail.mail.request import Request
from wakumail.node.link import Link
from wakumail.waku.completion import pack_cursor
from wakumail.waku.envelope import Envelope, make_envelope
from wakumail.waku.message import seal

TOPIC = b"topi"
NOW = int(time.time())
ENVELOPES = make(30, [TOPIC])


async def merge(servers: Mailservers, **choices: Any) -> list[MergedPage]:
    wanted: dict[str, Any] = {"lower": NOW - 3600, "topics": [TOPIC], "limit": 4}
    return [page async for page in servers.merged_history(**wanted | choices)]


def envelopes_of(pages: Sequence[MergedPage]) -> list[Envelope]:
    return [envelope for page in pages for envelope in page.envelopes]


def lacking_in(pages: Sequence[MergedPage], enode: Enode) -> list[Envelope]:
    return [
        envelope
        for page in pages
        for envelope, lacking in zip(page.envelopes, page.lacking, strict=True)
        if enode in lacking
    ]


def answers_after(count: int, envelopes: Sequence[Envelope], then: OnRequest) -> OnRequest:
    """Answers this number of requests as an archive, the next ones with `then`."""
    archive = archive_of(envelopes)
    requests = 0

    def answer(link: Link, request: Request) -> None:
        nonlocal requests
        requests += 1
        (archive if requests <= count else then)(link, request)

    return answer


@given(st.lists(st.sets(st.integers(0, 29)), min_size=2, max_size=3))
@settings(max_examples=20)
def test_any_parts(parts: list[set[int]]) -> None:
    """Together they are everything, each once, and each mailserver lacks the rest."""
    shares = [[ENVELOPES[n] for n in sorted(part)] for part in parts]

    async def check() -> None:
        async with several(*map(archive_of, shares)) as those:
            enodes = [server.enode for server in those]
            async with mailservers(enodes) as servers:
                pages = await merge(servers)
        everything = newest_first(list({e.hash: e for share in shares for e in share}.values()))
        assert envelopes_of(pages) == everything
        for enode, share in zip(enodes, shares, strict=True):
            assert lacking_in(pages, enode) == [e for e in everything if e not in share]

    asyncio.run(check())


@asynchronous
async def test_of_each_about_a_page_is_held() -> None:
    newest = newest_first(make(200, [TOPIC], created=NOW))
    async with several(archive_of(newest), archive_of(newest[::2])) as both:
        async with mailservers([server.enode for server in both]) as servers:
            pages = await merge(servers, limit=5)
        assert envelopes_of(pages) == newest
        assert max(len(page.envelopes) for page in pages) <= 20


@asynchronous
async def test_messages_stay_with_their_envelopes() -> None:
    key = bytes(32)
    sealed = {
        make_envelope(NOW + n, 50, TOPIC, seal(b"%d" % n, key=key, random=os.urandom), 0): b"%d" % n
        for n in range(12)
    }
    async with (
        several(archive_of([*sealed][::2]), archive_of([*sealed])) as both,
        mailservers([server.enode for server in both]) as servers,
    ):
        pages = await merge(servers, keys=[key])
    found = {}
    for page in pages:
        for envelope, message in zip(page.envelopes, page.messages, strict=True):
            assert message is not None
            found[envelope] = message.payload
    assert found == sealed


@asynchronous
async def test_one_that_is_not_there_and_one_that_refuses() -> None:
    async with several(archive_of(ENVELOPES), refuse) as both:
        absent = nobody()
        async with mailservers([absent, *(server.enode for server in both)]) as servers:
            pages = await merge(servers)
            assert envelopes_of(pages) == newest_first(ENVELOPES)
            assert set(servers.failures) == {absent, both[1].enode}
            assert all(not lacking for page in pages for lacking in page.lacking)


@asynchronous
async def test_one_that_fails_later_is_known_to_lack_what_it_passed() -> None:
    newest = newest_first(make(30, [TOPIC], created=NOW))
    some = [envelope for n, envelope in enumerate(newest) if n % 3]
    async with (
        several(archive_of(newest), answers_after(2, some, refuse)) as both,
        mailservers([server.enode for server in both]) as servers,
    ):
        pages = await merge(servers)
        assert envelopes_of(pages) == newest
        passed = some[2 * 4 - 1].created
        assert lacking_in(pages, both[1].enode) == [
            envelope for envelope in newest if envelope not in some and envelope.created > passed
        ]
        assert set(servers.failures) == {both[1].enode}


@asynchronous
async def test_each_window_gives_every_mailserver_a_try() -> None:
    days = [make(5, [TOPIC], created=NOW - n * 86400, seed=n) for n in range(2)]
    archive = archive_of([*days[0], *days[1]])

    def at_first(link: Link, request: Request) -> None:
        (refuse if request.upper >= NOW else archive)(link, request)

    async with (
        several(at_first, archive_of(days[0])) as both,
        mailservers([server.enode for server in both]) as servers,
    ):
        pages = await merge(servers, lower=NOW - 2 * 86400)
    assert envelopes_of(pages) == newest_first([*days[0], *days[1]])
    assert lacking_in(pages, both[0].enode) == []
    assert lacking_in(pages, both[1].enode) == newest_first(days[1])


@asynchronous
async def test_one_that_fails_again_and_again_is_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It was called in every window: a year of days took 365 timeouts."""
    archive = archive_of(ENVELOPES)
    async with several(archive, refuse) as both:
        absent = nobody()
        enodes = [absent, *(server.enode for server in both)]
        async with mailservers(enodes) as servers:
            pages = await merge(servers, lower=NOW - 10 * 86400)
            assert set(servers.failures) == {absent, both[1].enode}
    assert envelopes_of(pages) == newest_first(ENVELOPES)
    assert len({request.upper for request in both[0].requests}) == 10
    assert len(both[1].requests) == MAX_FAILED_WINDOWS
    assert len(caplog.records) == 2 * MAX_FAILED_WINDOWS


@asynchronous
async def test_all_fail() -> None:
    async with (
        several(refuse, refuse) as both,
        mailservers([server.enode for server in both]) as servers,
    ):
        with pytest.raises(NoMailserver, match=r"not today.*not today"):
            await merge(servers)


def oldest_first(link: Link, request: Request) -> None:
    """Answers in two pages, the older one first."""
    order = newest_first(make(30, [TOPIC], created=NOW))
    later = bool(request.cursor)
    link.peer.deliver_history(packet(order[:3] if later else order[-3:]))
    complete(link, request, b"" if later else pack_cursor(order[-3].created, order[-3].hash))


@asynchronous
async def test_one_out_of_order_counts_as_failed() -> None:
    everything = make(30, [TOPIC], created=NOW)
    async with (
        several(oldest_first, archive_of(everything)) as both,
        mailservers([server.enode for server in both]) as servers,
    ):
        assert envelopes_of(await merge(servers)) == newest_first(everything)
        assert "not in order" in str(servers.failures[both[0].enode])


@asynchronous
async def test_one_without_end_does_not_keep_back_the_other() -> None:
    """It sends one envelope a page, each a second older, with a cursor."""

    def one_by_one(link: Link, request: Request) -> None:
        created = NOW - len(both[0].requests)
        link.peer.deliver_history(packet([make_envelope(created + 50, 50, TOPIC, b"x", 0)]))
        complete(link, request, os.urandom(36))

    older = make(3, [TOPIC], created=NOW - 1000)
    async with (
        several(one_by_one, archive_of(older)) as both,
        mailservers([server.enode for server in both]) as servers,
    ):
        got = envelopes_of(await merge(servers, limit=1000))
        assert got[-3:] == newest_first(older)
        assert len(both[0].requests) == history_progress.MAX_SHORT_PAGES
        assert "and no end" in str(servers.failures[both[0].enode])


@asynchronous
async def test_a_second_without_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(ENVELOPES[0].data)
    second = [make_envelope(NOW, 50, TOPIC, n.to_bytes(size, "big"), 0) for n in range(40)]
    monkeypatch.setattr(history_progress, "MAX_PAGE_BYTES", len(ENVELOPES[0].rlp) * 20)
    async with (
        several(archive_of(second), archive_of(ENVELOPES)) as both,
        mailservers([server.enode for server in both]) as servers,
    ):
        got = envelopes_of(await merge(servers))
        assert set(ENVELOPES) <= set(got)
        assert "of one second" in str(servers.failures[both[0].enode])


@asynchronous
async def test_cancelled_while_one_stalls() -> None:
    """Envelopes on their way are not taken for the answer to the next history."""
    async with (
        several(answers_after(1, ENVELOPES, stall), archive_of(ENVELOPES)) as both,
        mailservers([server.enode for server in both]) as servers,
    ):
        history = asyncio.create_task(merge(servers))
        await eventually(lambda: len(both[0].requests) == 2)
        history.cancel()
        with pytest.raises(asyncio.CancelledError):
            await history
        both[0].on_request = archive_of(ENVELOPES)
        assert envelopes_of(await merge(servers)) == newest_first(ENVELOPES)


@asynchronous
async def test_arguments_are_checked_by_the_call() -> None:
    async with mailservers([nobody(), nobody()]) as servers:
        with pytest.raises(ValueError, match="window"):
            servers.merged_history(lower=0, topics=[TOPIC], window=0)
        with pytest.raises(ValueError, match="neither topics nor a bloom"):
            servers.merged_history(lower=0)


@asynchronous
async def test_nothing_anywhere() -> None:
    async with (
        several(archive_of([]), archive_of([])) as both,
        mailservers([server.enode for server in both]) as servers,
    ):
        assert await merge(servers) == []
        assert servers.failures == {}
