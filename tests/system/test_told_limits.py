"""Packets of our own keep to the rate limits that a peer told (6/WAKU1)."""

import asyncio
import time
from pathlib import Path

from tests.support.envelopes import make
from tests.support.exchanges import TOPICS, messages
from tests.support.patience import asynchronous, eventually
from tests.support.puppet import Puppet, mailserver
from tests.support.relaying import link_of
from wakumail.devp2p.connection_events import Packet
from wakumail.waku.packets import Code, RateLimits, StatusOptions, WakuDialect

RATE = 5
OPTIONS = StatusOptions(topic_interest=(), packet_rate_limits=RateLimits(0, RATE, 0))
ENVELOPE = make(1, TOPICS)[0].rlp


class Bucket:
    """The count of a peer: what its rate allows, beginning with our status."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._since = time.monotonic()
        self.count = 1

    def take(self, amount: int = 1) -> None:
        """Take what a packet costs. A slow machine only allows more."""
        self.count += amount
        assert self.count <= self._rate * (1 + time.monotonic() - self._since)


@asynchronous
async def test_many_changes_of_our_status_are_one_update(tmp_path: Path) -> None:
    """Changes over the limits are told later, with the last value of each option."""
    async with mailserver(tmp_path) as (server, enode):
        bucket = Bucket(RATE)
        puppet = await Puppet.ready(enode, options=OPTIONS)
        await eventually(lambda: link_of(server, puppet).ready)
        for number in range(1, 41):
            server.set_min_pow(number / 1024)
            await asyncio.sleep(0)
        pow_, count = 0.0, 0
        while pow_ != 40 / 1024:
            update = await puppet.packet(Code.STATUS_UPDATE)
            pow_ = WakuDialect(1).decode_update(Code.STATUS_UPDATE, update).pow or 0.0
            bucket.take()
            count += 1
        assert count < 40


@asynchronous
async def test_confirmations_keep_to_a_limit_of_bytes(tmp_path: Path) -> None:
    """Confirmations that name refused envelopes, to a peer that tells no limit of packets."""
    rate = 3000
    options = StatusOptions(topic_interest=(), bytes_rate_limits=RateLimits(0, rate, 0))
    old = [make(20, TOPICS, created=int(time.time()) - 1000, seed=seed) for seed in range(6)]
    async with mailserver(tmp_path) as (server, enode):
        bucket = Bucket(rate)
        puppet = await Puppet.ready(enode, options=options)
        for batch in old:
            puppet.send(Code.MESSAGES, messages(batch))
        responses = 0
        while responses < len(old):
            packet = await puppet.until(Packet)
            assert packet.code == Code.MESSAGE_RESPONSE
            bucket.take(len(packet.payload))
            responses += 1
        assert server.counters["messages_confirmed"] == len(old)
