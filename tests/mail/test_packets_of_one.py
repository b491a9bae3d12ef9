"""History in packets of one envelope each (batch = 0), and what holds them back."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.envelopes import make, newest_first
from tests.support.exchanges import TOPICS, answer, build, post
from tests.support.patience import asynchronous
from tests.support.puppet import Puppet, mailserver
from wakumail.archive.results import Page
from wakumail.node.outbox import WRITE_HIGH_WATER
from wakumail.waku.packets import Code, RateLimits, StatusOptions


@asynchronous
async def test_they_wait_for_a_slow_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next page is read once the peer has read most of those before it."""
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode)
        envelopes = make(60, TOPICS, size=100_000)
        await post(puppet, envelopes)
        (link,) = server.node.links.values()
        read_page = server.store.pages.read
        unread = []

        async def watched(*arguments: Any, **named: Any) -> Page:
            unread.append(link.outbox.unread)
            return await read_page(*arguments, **named)

        monkeypatch.setattr(server.store.pages, "read", watched)
        puppet.send(Code.P2P_REQUEST, build(bloom=b"\xff" * 64, batch=False)[0])
        answered, counts, _, _ = await answer(puppet)
        assert answered == newest_first(envelopes)
        assert counts == [1] * 60
        assert len(unread) >= 6
        assert max(unread) <= WRITE_HIGH_WATER


@asynchronous
async def test_they_keep_the_rate_limits_of_the_peer(tmp_path: Path) -> None:
    """Each counts: of 60 packets at 40 a second, a burst of 40 leaves and the others follow."""
    async with mailserver(tmp_path) as (server, enode):
        await post(await Puppet.ready(enode), make(60, TOPICS))
        limits = RateLimits(0, 40, 0)
        options = StatusOptions(pow=0.0, topic_interest=(), packet_rate_limits=limits)
        puppet = await Puppet.ready(enode, options=options)
        began = time.monotonic()
        puppet.send(Code.P2P_REQUEST, build(bloom=b"\xff" * 64, batch=False)[0])
        answered, counts, _, _ = await answer(puppet)
        assert len(answered) == 60
        assert counts == [1] * 60
        assert time.monotonic() - began > (60 - 40) / 40
        assert server.counters["envelopes_delivered"] == 60
