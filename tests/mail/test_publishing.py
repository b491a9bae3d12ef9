"""Envelopes that the server itself publishes: their commit, and their refusal."""

import asyncio
from pathlib import Path

import pytest

from tests.support.disks import FullDisk, SlowDisk
from tests.support.envelopes import make
from tests.support.exchanges import TOPICS, messages, post, works
from tests.support.patience import PATIENCE, asynchronous, eventually
from tests.support.puppet import Puppet, mailserver
from wakumail.mail.server import PublishRefused
from wakumail.waku.packets import Code


@asynchronous
async def test_what_is_published_while_the_disk_refuses_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wakumail.archive.writer_thread.COMMIT_RETRY_INTERVAL", 0.001)
    async with mailserver(tmp_path) as (server, _):
        first, second = make(2, TOPICS)
        full = FullDisk(server.store)
        await asyncio.wait_for(server.publish(first.rlp), PATIENCE)
        assert server.store.degraded == "no room"
        await server.publish(second.rlp)
        assert server.counters["envelopes_archived"] == 0
        full.mend()
        await eventually(lambda: server.counters["envelopes_archived"] == 2)


@asynchronous
async def test_what_is_published_while_the_archive_has_no_room_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the relay would know it, and a peer that sends it would get a confirmation."""
    monkeypatch.setattr("wakumail.archive.writer_thread.COMMIT_RETRY_INTERVAL", 0.001)
    monkeypatch.setattr("wakumail.archive.store.MAX_UNCOMMITTED_BYTES", 2_000)
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode)
        full = FullDisk(server.store)
        waiting = make(60, TOPICS, seed=1)
        puppet.send(Code.MESSAGES, messages(waiting))
        await eventually(lambda: server.store.full)
        (envelope,) = make(1, TOPICS, seed=2)
        with pytest.raises(PublishRefused, match="behind"):
            await server.publish(envelope.rlp)
        assert server.counters["envelopes_published"] == 0
        known = asyncio.ensure_future(server.publish(waiting[0].rlp))
        full.mend()
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
        await asyncio.wait_for(server.publish(envelope.rlp), PATIENCE)
        assert server.store.degraded
