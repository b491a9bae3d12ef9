"""The client against mailservers that send the same again and again, too little or far too much."""

import asyncio
import itertools
import os
import time
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import Buffer

from tests.support.envelopes import make, newest_first
from tests.support.patience import asynchronous
from tests.support.scripted import archive_of, complete, packet, scripted, several
from wakumail.base import snappy
from wakumail.devp2p import connection
from wakumail.errors import AnswerTimeout, PeerGone
from wakumail.mail import answer, history_progress
from wakumail.mail.answer import ANSWER_TIMEOUT, HistoryPage, RequestRefused, Wanted
from wakumail.mail.client import MailPeer, connect
from wakumail.mail.history_progress import (
    MAX_REPEATED_PAGES,
    MAX_SHORT_PAGES,
    SHORT_BYTES,
    SHORT_PAGE,
    HistoryDisordered,
    HistoryProgress,
)
from wakumail.mail.mailservers import Mailservers, mailservers
from wakumail.mail.request import Form, Request
from wakumail.node.link import Link
from wakumail.waku.envelope import Envelope, make_envelope

TOPIC = b"topi"
NOW = int(time.time())
MIB = 1 << 20


numbers = itertools.count()
"""Tells apart envelopes that are otherwise alike."""


def fresh(created: int, size: int = 1) -> Envelope:
    """One that nobody has seen."""
    return make_envelope(created + 50, 50, TOPIC, bytes(size), next(numbers))


def page_of(envelopes: Sequence[Envelope], *, last: bool = False) -> HistoryPage:
    cursor = b"" if last else bytes(36)
    return HistoryPage(tuple(envelopes), (None,) * len(envelopes), 0, bytes(32), bytes(32), cursor)


def follow(pages: Sequence[Sequence[Envelope]], *, limit: int = 1000, seconds: float = 0) -> int:
    """Take pages, each after as many seconds; the number of those after which the history ended."""
    progress = HistoryProgress(limit, ANSWER_TIMEOUT)
    progress.begin_window(b"")
    for number, envelopes in enumerate(pages, 1):
        progress.take(page_of(envelopes), seconds)
        try:
            progress.check(os.urandom(36), Form.R3)
        except (RequestRefused, AnswerTimeout):
            return number
    return len(pages)


async def read(source: MailPeer | Mailservers, found: list[Envelope]) -> None:
    """Append the envelopes of a history to `found`."""
    async for page in source.history(lower=NOW - 3600, topics=[TOPIC], limit=10):
        found += page.envelopes


@asynchronous
async def test_pages_of_one_envelope_without_end() -> None:
    """It comes in one page, and the history ends with an error soon after."""
    (envelope,) = make(1, [TOPIC])
    found: list[Envelope] = []

    def again(link: Link, request: Request) -> None:
        link.peer.deliver_history(packet([envelope]))
        complete(link, request, os.urandom(36))

    async with scripted(again) as server, connect(server.enode) as peer:
        with pytest.raises(RequestRefused, match="came before"):
            await read(peer, found)
        assert found == [envelope]
        assert len(server.requests) == 1 + MAX_REPEATED_PAGES
        async with mailservers([server.enode]) as servers:
            with pytest.raises(RequestRefused, match="came before"):
                await read(servers, found)
        assert found == [envelope] * 2


@asynchronous
async def test_an_envelope_counts_once_however_often_it_is_sent() -> None:
    envelopes = make(3, [TOPIC])

    def often(link: Link, request: Request) -> None:
        for _ in range(3):
            link.peer.deliver_history(packet(envelopes))
        complete(link, request)

    async with scripted(often) as server, connect(server.enode) as peer:
        (page,) = [p async for p in peer.history(lower=NOW - 3600, topics=[TOPIC])]
        assert list(page.envelopes) == envelopes
        assert (len(page.messages), page.repeated, page.foreign) == (3, 6, 0)


@asynchronous
async def test_pages_that_overlap_are_progress() -> None:
    envelopes = newest_first(make(40, [TOPIC]))
    starts = itertools.count()

    def overlapping(link: Link, request: Request) -> None:
        n = next(starts)
        link.peer.deliver_history(packet(envelopes[n : n + 10]))
        complete(link, request, os.urandom(36) if n < 30 else b"")

    async with scripted(overlapping) as server, connect(server.enode) as peer:
        found: list[Envelope] = []
        await read(peer, found)
        assert found == envelopes


@asynchronous
async def test_cursors_that_go_round() -> None:
    cursors = itertools.cycle(bytes([n]) * 36 for n in range(3))

    def round_trip(link: Link, request: Request) -> None:
        complete(link, request, next(cursors))

    async with scripted(round_trip) as server, connect(server.enode) as peer:
        with pytest.raises(RequestRefused, match="cursor that it was given"):
            await read(peer, [])
        assert len(server.requests) == 4 < MAX_SHORT_PAGES


@asynchronous
async def test_pages_of_others_between_repeated_ones_are_no_progress() -> None:
    (wanted,), (other,) = make(1, [TOPIC]), make(1, [b"else"])
    turns = itertools.cycle((wanted, other))

    def alternate(link: Link, request: Request) -> None:
        link.peer.deliver_history(packet([next(turns)]))
        complete(link, request, os.urandom(36))

    async with scripted(alternate) as server, connect(server.enode) as peer:
        with pytest.raises(RequestRefused, match="no end"):
            await read(peer, [])
        assert len(server.requests) == MAX_SHORT_PAGES


def one_by_one(link: Link, request: Request) -> None:
    """A page of one envelope that nobody has seen, and no end."""
    link.peer.deliver_history(packet([fresh(NOW - 600)]))
    complete(link, request, os.urandom(36))


@asynchronous
async def test_a_new_envelope_in_each_page_without_end() -> None:
    """The next mailserver is asked, and the envelopes that came stay."""
    envelopes = make(3, [TOPIC], created=NOW)
    async with several(one_by_one, archive_of(envelopes)) as both:
        found: list[Envelope] = []
        async with connect(both[0].enode) as peer:
            with pytest.raises(RequestRefused, match="fewer than 10 new envelopes"):
                await read(peer, found)
        assert len(found) == len(both[0].requests) == MAX_SHORT_PAGES
        found.clear()
        async with mailservers([server.enode for server in both]) as servers:
            await read(servers, found)
        assert found[MAX_SHORT_PAGES:] == newest_first(envelopes)


def test_pages_that_are_not_short() -> None:
    """They hold some envelopes, large ones, or as many as were asked for."""
    count = 3 * MAX_SHORT_PAGES
    some = [[fresh(NOW) for _ in range(SHORT_PAGE)] for _ in range(count)]
    large = [[fresh(NOW, SHORT_BYTES)] for _ in range(count)]
    two = [[fresh(NOW), fresh(NOW)] for _ in range(count)]
    assert follow(some) == follow(large) == follow(two, limit=2) == count
    assert follow(two, limit=3) == MAX_SHORT_PAGES


def test_an_empty_page_between_others_changes_nothing() -> None:
    pages = [[fresh(NOW)] if n % 2 else [] for n in range(2 * MAX_SHORT_PAGES)]
    assert follow(pages) == MAX_SHORT_PAGES


@pytest.mark.parametrize("limit", [1, 1000])
def test_pages_that_trickle_in(limit: int) -> None:
    """Each just in time: the whole history has a limit, even if a request asks for one envelope."""
    pages = [[fresh(NOW)] for _ in range(MAX_SHORT_PAGES - 1)]
    assert follow(pages, limit=limit, seconds=0.97 * ANSWER_TIMEOUT) == 12


def test_pages_that_come_slowly_but_bring_much() -> None:
    pages = [[fresh(NOW - n, SHORT_BYTES)] for n in range(200)]
    assert follow(pages, seconds=ANSWER_TIMEOUT) == 200


def test_many_quick_pages_of_one_envelope() -> None:
    """As a request for one envelope gets them from a mailserver that is far away."""
    pages = [[fresh(NOW)] for _ in range(2000)]
    assert follow(pages, limit=1, seconds=ANSWER_TIMEOUT / 11) == 2000


def follow_windows(windows: Sequence[int], *, last: float, windows_in_all: int) -> int:
    """Take windows, each with so many empty pages; the number of those after which it ended."""
    progress = HistoryProgress(1000, ANSWER_TIMEOUT)
    for number in range(windows_in_all):
        try:
            progress.begin_window(b"")
            for _ in range(windows[number % len(windows)]):
                progress.take(page_of([]), 0)
                progress.check(os.urandom(36), Form.R3)
            progress.take(page_of([], last=True), last)
        except (RequestRefused, AnswerTimeout):
            return number
    return windows_in_all


def test_short_pages_and_lost_time_count_for_all_windows() -> None:
    """Each window began anew: a year of days could take 365 times as long."""
    assert follow_windows([0], last=0, windows_in_all=1000) == 1000, "a good one that has nothing"
    assert follow_windows([MAX_SHORT_PAGES // 2], last=0, windows_in_all=1000) == 1
    assert follow_windows([1], last=0, windows_in_all=1000) == MAX_SHORT_PAGES - 1
    assert follow_windows([0], last=0.97 * ANSWER_TIMEOUT, windows_in_all=1000) == 12
    assert follow_windows([0], last=0.1 * ANSWER_TIMEOUT, windows_in_all=1000) == 1000


def test_an_envelope_comes_once_in_all_windows_and_each_has_an_order_of_its_own() -> None:
    progress = HistoryProgress(1000, ANSWER_TIMEOUT)
    again = fresh(NOW)
    for _ in range(3):
        progress.begin_window(b"")
        page = progress.take(page_of([fresh(NOW - 60), again]), 0)
        progress.take(page_of([fresh(NOW)], last=True), 0)
        assert (page.repeated, again in page.envelopes) in ((0, True), (1, False))
    assert page.repeated == 1


@asynchronous
async def test_a_slow_one_is_left_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of each page is measured. The loop's clock may stand still for some."""
    monkeypatch.setattr(history_progress, "MAX_TIMEOUTS", 0)
    monkeypatch.setattr(history_progress, "PAGE_SHARE", 0.0)
    monkeypatch.setattr(history_progress, "SHORT_BYTES", 1 << 40)
    monkeypatch.setattr(history_progress, "SHORT_PAGE", 0)
    envelopes = make(3, [TOPIC], created=NOW)
    async with several(one_by_one, archive_of(envelopes)) as both:
        found: list[Envelope] = []
        async with mailservers([server.enode for server in both]) as servers:
            await read(servers, found)
            assert isinstance(servers.failures[both[0].enode], AnswerTimeout)
        assert found[-3:] == newest_first(envelopes)


pages_of_times = st.lists(st.lists(st.integers(0, 5), max_size=4), max_size=5)


@given(pages_of_times)
def test_pages_go_one_way(pages: list[list[int]]) -> None:
    """All newer ones before all older ones, or the other way round; within a page as they like."""
    chosen = [[fresh(NOW + time) for time in page] for page in pages]
    spans = [(min(page), max(page)) for page in pages if page]
    falling = all(newer[0] >= older[1] for newer, older in itertools.pairwise(spans))
    rising = all(older[1] <= newer[0] for older, newer in itertools.pairwise(spans))
    if falling or rising:
        assert follow(chosen) == len(pages)
    else:
        with pytest.raises(HistoryDisordered, match="not in order"):
            follow(chosen)


@pytest.mark.parametrize("direction", [1, -1])
def test_a_second_without_end(direction: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bytes are limited, and counted anew for the next second."""
    monkeypatch.setattr(history_progress, "MAX_PAGE_BYTES", 100_000)
    times = [NOW + direction * n for n in range(20)]
    assert follow([[fresh(at, 45_000), fresh(at, 45_000)] for at in times]) == 20
    steps = [[-2], [-1, 0], [0], [0]]
    with pytest.raises(HistoryDisordered, match="of one second"):
        follow([[fresh(NOW + direction * n, 45_000) for n in page] for page in steps])


@pytest.mark.parametrize(("limit", "most"), [(1, 2 * MIB), (3, 4 * MIB), (1000, 8 * MIB)])
@asynchronous
async def test_a_page_is_bounded_before_it_is_inflated(
    limit: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what was asked for, and by MAX_PAGE_BYTES."""
    monkeypatch.setattr(answer, "MAX_PAGE_BYTES", 8 * MIB)
    inflated = 0

    def inflate(data: Buffer, size: int) -> bytes:
        nonlocal inflated
        content = snappy.inflate(data, size)
        inflated += len(content)
        return content

    page = packet([make_envelope(NOW + 30, 50, TOPIC, bytes(9 * MIB // 10), 0)])

    async def send(link: Link) -> None:
        with suppress(PeerGone):
            while True:
                link.peer.deliver_history(page)
                await link.outbox.drain_and_pace()

    tasks: list[asyncio.Task[None]] = []

    def pour(link: Link, request: Request) -> None:
        tasks.append(asyncio.create_task(send(link)))

    wanted = Wanted(NOW - 3600, NOW + 3600, (TOPIC,), limit=limit)
    async with scripted(pour) as server, connect(server.enode) as peer:
        monkeypatch.setattr(connection, "inflate", inflate)
        with pytest.raises(PeerGone, match=r"history of \d+ bytes|envelopes? asked for"):
            await peer.request(wanted)
        assert inflated <= most
        await asyncio.gather(*tasks)
    async with scripted(archive_of(make(20, [TOPIC]))) as server, connect(server.enode) as peer:
        assert len((await peer.request(wanted)).envelopes) == min(limit, 20)


@asynchronous
async def test_one_packet_that_is_far_larger_than_what_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def pour(link: Link, request: Request) -> None:
        link.peer.deliver_history(bytes(5 * MIB))

    async with scripted(pour) as server, connect(server.enode) as peer:
        with pytest.raises(PeerGone, match="history of 5242880 bytes, where 2097152 were left"):
            await peer.request(Wanted(NOW - 3600, NOW + 3600, (TOPIC,), limit=1))
        assert peer.counters["packet_too_large"] == 1
