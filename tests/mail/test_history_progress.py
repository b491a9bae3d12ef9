"""The client against mailservers that send the same again and again, or far too much at once."""

import asyncio
import itertools
import os
import time
from contextlib import suppress

import pytest
from typing_extensions import Buffer

from tests.support.envelopes import make
from tests.support.patience import asynchronous
from tests.support.scripted import archive_of, complete, packet, scripted
from wakumail.base import snappy
from wakumail.devp2p import connection
from wakumail.errors import PeerGone
from wakumail.mail import answer
from wakumail.mail.answer import RequestRefused, Wanted
from wakumail.mail.client import MailPeer, connect
from wakumail.mail.history_progress import MAX_EMPTY_PAGES, MAX_REPEATED_PAGES
from wakumail.mail.mailservers import Mailservers, mailservers
from wakumail.mail.request import Request
from wakumail.node.link import Link
from wakumail.waku.envelope import Envelope, make_envelope

TOPIC = b"topi"
NOW = int(time.time())
MIB = 1 << 20


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
    envelopes = make(40, [TOPIC])
    numbers = itertools.count()

    def overlapping(link: Link, request: Request) -> None:
        n = next(numbers)
        link.peer.deliver_history(packet(envelopes[n : n + 10]))
        complete(link, request, os.urandom(36) if n < 30 else b"")

    async with scripted(overlapping) as server, connect(server.enode) as peer:
        found: list[Envelope] = []
        await read(peer, found)
        assert found == envelopes


@asynchronous
async def test_cursors_that_go_round() -> None:
    numbers = itertools.count()

    def round_trip(link: Link, request: Request) -> None:
        complete(link, request, bytes([next(numbers) % 3]) * 36)

    async with scripted(round_trip) as server, connect(server.enode) as peer:
        with pytest.raises(RequestRefused, match="cursor that it was given"):
            await read(peer, [])
        assert len(server.requests) == 4 < MAX_EMPTY_PAGES


@asynchronous
async def test_pages_of_others_between_repeated_ones_are_no_progress() -> None:
    (wanted,), (other,) = make(1, [TOPIC]), make(1, [b"else"])
    numbers = itertools.count()

    def alternate(link: Link, request: Request) -> None:
        link.peer.deliver_history(packet([other if next(numbers) % 2 else wanted]))
        complete(link, request, os.urandom(36))

    async with scripted(alternate) as server, connect(server.enode) as peer:
        with pytest.raises(RequestRefused, match="no end"):
            await read(peer, [])
        assert len(server.requests) == 1 + MAX_EMPTY_PAGES


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
