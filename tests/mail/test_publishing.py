"""Envelopes that the server itself publishes: their commit, and their refusal."""

import asyncio
from pathlib import Path

import pytest

from tests.support.disks import FailingDisk, FullDisk, SlowDisk
from tests.support.envelopes import make
from tests.support.exchanges import TOPICS, messages, post, works
from tests.support.patience import PATIENCE, asynchronous, eventually
from tests.support.puppet import Puppet, mailserver
from wakumail.mail.server import PublishRefused, PublishUnstored
from wakumail.waku.packets import Code


@asynchronous
async def test_what_is_published_while_the_disk_refuses_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first finds out that the disk refuses: it has gone out, and nobody says it is stored."""
    monkeypatch.setattr("wakumail.archive.writer_thread.COMMIT_RETRY_INTERVAL", 0.001)
    async with mailserver(tmp_path) as (server, _):
        first, second = make(2, TOPICS)
        full = FullDisk(server.store)
        with pytest.raises(PublishUnstored, match="not stored: no room"):
            await asyncio.wait_for(server.publish(first.rlp), PATIENCE)
        assert server.store.degraded == "no room"
        for envelope in (second, first):
            with pytest.raises(PublishRefused, match="no room"):
                await server.publish(envelope.rlp)
        assert server.counters["envelopes_published"] == 1
        assert not server.relay.pool.contains(second.hash)
        full.mend()
        await eventually(lambda: not server.store.degraded)
        assert server.counters["envelopes_archived"] == 1
        await server.publish(first.rlp)
        await server.publish(second.rlp)
        assert server.store.archive.contains(second.created, second.hash)


@asynchronous
async def test_all_who_wait_are_told_that_the_disk_refuses(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, _):
        failing = FailingDisk(server.store)
        waiting = [asyncio.ensure_future(server.publish(each.rlp)) for each in make(3, TOPICS)]
        await eventually(lambda: server.counters["envelopes_published"] == 3)
        failing.writes.set()
        for each in waiting:
            with pytest.raises(PublishUnstored, match="no room"):
                await asyncio.wait_for(each, PATIENCE)
        assert server.counters["envelopes_archived"] == 0


@asynchronous
async def test_who_still_waits_at_the_end_is_not_told_that_it_is_stored(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, _):
        failing = FailingDisk(server.store)
        (envelope,) = make(1, TOPICS)
        waiting = asyncio.ensure_future(server.publish(envelope.rlp))
        await eventually(lambda: server.counters["envelopes_published"] == 1)
        closing = asyncio.ensure_future(server.close())
        await eventually(lambda: server.store.on_room is None)
        failing.writes.set()
        with pytest.raises(PublishUnstored, match="no room"):
            await asyncio.wait_for(waiting, PATIENCE)
        await closing


@asynchronous
async def test_what_is_published_while_the_queue_is_full_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the relay would know it, and a peer that sends it would get a confirmation."""
    monkeypatch.setattr("wakumail.archive.store.MAX_UNCOMMITTED_BYTES", 2_000)
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode)
        slow = SlowDisk(server.store)
        waiting = make(60, TOPICS, seed=1)
        puppet.send(Code.MESSAGES, messages(waiting))
        await eventually(lambda: server.store.full)
        (envelope,) = make(1, TOPICS, seed=2)
        with pytest.raises(PublishRefused, match="behind"):
            await server.publish(envelope.rlp)
        assert server.counters["envelopes_published"] == 0
        known = asyncio.ensure_future(server.publish(waiting[0].rlp))
        slow.writes.set()
        await known
        await puppet.packet(Code.BATCH_ACK)
        await post(puppet, [envelope])
        assert server.store.archive.contains(envelope.created, envelope.hash)


@asynchronous
async def test_what_others_have_sent_is_published_when_it_is_archived(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        slow = SlowDisk(server.store)
        puppet = await Puppet.ready(enode)
        (envelope,) = make(1, TOPICS)
        puppet.send(Code.MESSAGES, messages([envelope]))
        await eventually(lambda: server.relay.pool.contains(envelope.hash))
        publishing = asyncio.ensure_future(server.publish(envelope.rlp))
        await works(enode)
        assert not publishing.done()
        slow.writes.set()
        await publishing
        assert slow.archive.contains(envelope.created, envelope.hash)


@asynchronous
async def test_who_no_longer_waits_is_forgotten(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        slow = SlowDisk(server.store)
        (envelope,) = make(1, TOPICS)
        publishing = asyncio.ensure_future(server.publish(envelope.rlp))
        await works(enode)
        publishing.cancel()
        await asyncio.wait([publishing])
        assert not server._publishing
        slow.writes.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@asynchronous
async def test_nobody_waits_for_a_writer_that_has_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mailserver(tmp_path) as (server, _):
        monkeypatch.setattr(server.store.writer, "_commit", lambda entries: 1 // 0)
        (envelope,) = make(1, TOPICS)
        with pytest.raises(PublishUnstored, match="the writer has died"):
            await asyncio.wait_for(server.publish(envelope.rlp), PATIENCE)
        with pytest.raises(PublishRefused, match="the writer has died"):
            await server.publish(envelope.rlp)
