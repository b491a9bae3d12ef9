"""Frames encrypted beside the loop: their order, the senders that wait for them, ends of links."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.support.patience import asynchronous, eventually
from tests.support.puppet import Puppet, mailserver
from tests.support.relaying import link_of
from wakumail.base import rlp
from wakumail.devp2p.frame_writer import FrameWriter
from wakumail.errors import DisconnectReason, PeerGone, ProtocolError
from wakumail.node.encryption_thread import MAX_WRITERS, EncryptionThread
from wakumail.node.link import Link
from wakumail.node.outbox import MAX_ENCRYPTED_ON_LOOP, MAX_UNREAD, WRITE_HIGH_WATER, StalledPeer
from wakumail.ops.config.settings import HIGHEST_MAX_REPLY
from wakumail.waku.packets import Code

LONG = rlp.join_list([rlp.encode(bytes(MAX_ENCRYPTED_ON_LOOP))])
SHORT = rlp.join_list([])


class HeldThread:
    """An encryption thread that is done when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []

    def encrypt(self, writer: FrameWriter, done: Callable[[bytes], None]) -> None:
        self.jobs.append(partial(done, writer.encrypt()))

    def go_on(self) -> None:
        self.jobs.pop(0)()

    def close(self) -> None:
        pass


class LateThread(HeldThread):
    """One that does not even begin before."""

    def encrypt(self, writer: FrameWriter, done: Callable[[bytes], None]) -> None:
        self.jobs.append(lambda: done(writer.encrypt()))


@asynccontextmanager
async def holding(
    datadir: Path, held: HeldThread | None = None
) -> AsyncIterator[tuple[HeldThread, Link, Puppet]]:
    """The held thread of a mailserver, its link to a puppet, and the puppet."""
    async with mailserver(datadir) as (server, enode):
        puppet = await Puppet.ready(enode)
        server.node.encryption_thread.close()
        held = held or HeldThread()
        server.node.encryption_thread = held  # type: ignore[assignment]
        yield held, link_of(server, puppet), puppet


def send(link: Link, payload: bytes) -> None:
    link.peer.deliver_history(payload)
    link.outbox.flush()


@asynchronous
async def test_what_is_sent_meanwhile_goes_behind(tmp_path: Path) -> None:
    async with holding(tmp_path) as (held, link, puppet):
        send(link, LONG)
        assert len(held.jobs) == 1
        send(link, SHORT)
        assert len(held.jobs) == 1
        held.go_on()
        send(link, SHORT)  # short frames need no thread
        assert not held.jobs
        for payload in (LONG, SHORT, SHORT):
            assert await puppet.packet(Code.P2P_MESSAGE) == payload


@asynchronous
async def test_a_link_is_not_writable_before_its_frames_are_encrypted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with holding(tmp_path) as (held, link, puppet):
        told: list[Link] = []
        monkeypatch.setattr(link._node.handler, "on_writable", told.append)
        link.peer.deliver_history(LONG)
        assert link.outbox.unread > len(LONG)
        draining = asyncio.create_task(link.outbox.drain())
        await eventually(lambda: len(held.jobs) == 1)
        puppet.connection.probe(0.0)
        puppet.flush()
        await eventually(lambda: link.outbox.unread > 0)  # the ping is read and answered
        assert not link.outbox.writable
        assert not draining.done()
        assert not told
        held.go_on()
        await draining
        assert told == [link]


@asynchronous
async def test_a_link_that_is_behind_stays_so_when_its_frames_are_encrypted(tmp_path: Path) -> None:
    async with holding(tmp_path) as (held, link, _):
        send(link, LONG)
        link.pause_writing()
        held.go_on()
        assert not link.outbox.writable
        send(link, LONG)
        link.resume_writing()
        assert not link.outbox.writable
        held.go_on()
        assert link.outbox.writable


@asynchronous
async def test_goodbye_is_encrypted_last(tmp_path: Path) -> None:
    async with holding(tmp_path) as (held, link, puppet):
        send(link, LONG)
        link.peer.deliver_history(LONG)
        link.disconnect(DisconnectReason.QUITTING)
        assert not link._transport.is_closing()
        with pytest.raises(PeerGone):
            await link.outbox.drain()
        held.go_on()
        held.go_on()
        assert link._transport.is_closing()
        for _ in range(2):
            assert await puppet.packet(Code.P2P_MESSAGE) == LONG
        assert (await puppet.closed()).reason is DisconnectReason.QUITTING


@asynchronous
async def test_nobody_waits_longer_than_that_for_a_goodbye(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wakumail.node.outbox.CLOSE_TIMEOUT", 0.0)
    async with holding(tmp_path) as (held, link, _):
        send(link, LONG)
        link.disconnect(DisconnectReason.QUITTING)
        await link.gone()
        held.go_on()
        assert not held.jobs


@pytest.mark.parametrize("end", ["drop", "hang up"])
@asynchronous
async def test_links_that_end_meanwhile(tmp_path: Path, end: str) -> None:
    async with holding(tmp_path) as (held, link, puppet):
        send(link, LONG)
        if end == "drop":
            link.drop(ProtocolError("for a test"))
        else:
            puppet.hang_up()
        await link.gone()
        link.peer.deliver_history(LONG)
        held.go_on()
        assert not held.jobs


@asynchronous
async def test_several_links_at_once(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        puppets = [await Puppet.ready(enode) for _ in range(2 * MAX_WRITERS + 1)]
        links = [link_of(server, puppet) for puppet in puppets]
        payload = rlp.join_list([rlp.encode(os.urandom(2 * WRITE_HIGH_WATER))])
        for link in links:
            send(link, payload)
            send(link, SHORT)
        for puppet in puppets:
            assert await puppet.packet(Code.P2P_MESSAGE) == payload
            assert await puppet.packet(Code.P2P_MESSAGE) == SHORT
        await asyncio.gather(*(link.outbox.drain() for link in links))


@asynchronous
async def test_a_failure_is_told_and_holds_up_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    thread = EncryptionThread()
    first, twice, last = (FrameWriter(bytes(32), bytes(32), b"") for _ in range(3))
    done: list[tuple[str, bytes | None]] = []
    thread.encrypt(first, lambda frames: done.append(("first", frames)))
    for _ in range(2):
        thread.encrypt(twice, lambda frames: done.append(("twice", frames)))
    await eventually(lambda: len(done) == 3)
    thread.encrypt(last, lambda frames: done.append(("last", frames)))
    await eventually(lambda: len(done) == 4)
    assert done == [("first", b""), ("twice", None), ("twice", None), ("last", b"")]
    assert [record.message for record in caplog.records] == ["frames could not be encrypted"]
    thread.close()


@asynchronous
async def test_a_link_whose_frames_are_lost_ends(tmp_path: Path) -> None:
    async with holding(tmp_path) as (held, link, _):
        send(link, LONG)
        held.jobs.clear()
        link.outbox._on_encrypted(None)
        await link.gone()
        assert not held.jobs


@asynchronous
async def test_what_waits_meanwhile_has_a_bound(tmp_path: Path) -> None:
    async with holding(tmp_path) as (held, link, _):
        send(link, LONG)
        while link.outbox.unread <= MAX_UNREAD:
            send(link, LONG)
        await link.gone()
        assert isinstance(link.closed and link.closed.error, StalledPeer)
        held.go_on()


@asynchronous
async def test_the_largest_packet_alone_is_not_too_much(tmp_path: Path) -> None:
    async with holding(tmp_path, LateThread()) as (held, link, puppet):
        payload = rlp.join_list([rlp.encode(bytes(HIGHEST_MAX_REPLY - 16))])
        send(link, payload)
        send(link, SHORT)
        assert link.closed is None
        held.go_on()
        assert await puppet.packet(Code.P2P_MESSAGE) == payload
        assert await puppet.packet(Code.P2P_MESSAGE) == SHORT


@asynchronous
async def test_what_waits_at_the_end_is_dropped() -> None:
    thread = EncryptionThread()
    writers = [FrameWriter(bytes(32), bytes(32), b"") for _ in range(3)]
    done: list[bytes | None] = []
    for writer in writers:
        writer.add(bytes(1 << 20))
        thread.encrypt(writer, done.append)
    thread.close()
    await eventually(lambda: len(done) == 1)
    assert all(writer.waiting for writer in writers[1:])
