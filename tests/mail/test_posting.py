"""What the client posts to a mailserver: only what one node may send another (6/WAKU1)."""

import time
from pathlib import Path

import pytest

from tests.support.envelopes import TTL
from tests.support.puppet import asynchronous, mailserver
from wakumail.errors import RlpError
from wakumail.mail.client import connect
from wakumail.mail.posting import Posted, Withheld
from wakumail.waku.envelope import Envelope, Verdict, make_envelope
from wakumail.waku.packets import StatusOptions

TOPIC = b"topi"


@pytest.mark.parametrize(
    ("options", "topic", "age", "reason"),
    [
        (StatusOptions(pow=0.0), TOPIC, TTL + 1, Verdict.EXPIRED),
        (StatusOptions(pow=1e9), TOPIC, 0, Verdict.LOW_POW),
        (
            StatusOptions(pow=0.0, topic_interest=(TOPIC,)),
            b"else",
            0,
            Verdict.UNWANTED_TOPIC,
        ),
    ],
    ids=["expired", "too little PoW", "an unwanted topic"],
)
@asynchronous
async def test_what_the_peer_must_not_be_sent_is_not_posted(
    tmp_path: Path, options: StatusOptions, topic: bytes, age: int, reason: Verdict
) -> None:
    envelope = make_envelope(int(time.time()) - age + TTL, TTL, topic, b"", 0)
    async with mailserver(tmp_path, node={"options": options}) as (server, enode):
        async with connect(enode) as peer:
            posted = await peer.post([envelope.rlp])
        assert posted == Posted(0, 0, (), (Withheld(envelope.hash, reason),))
        assert server.counters["envelopes_received"] == 0


def lasting(ttl: int) -> Envelope:
    """An envelope without work, so that its PoW is 1 / (size * ttl) or a few times that."""
    return make_envelope(int(time.time()) + ttl, ttl, TOPIC, bytes(100), 0)


@asynchronous
async def test_the_others_of_a_packet_are_posted(tmp_path: Path) -> None:
    strong, weak = lasting(10), lasting(1_000_000)
    options = StatusOptions(pow=(strong.pow + weak.pow) / 2, confirmations=True)
    async with mailserver(tmp_path, node={"options": options}) as (server, enode):
        async with connect(enode) as peer:
            posted = await peer.post([weak.rlp, strong.rlp])
        assert posted == Posted(1, 1, (), (Withheld(weak.hash, Verdict.LOW_POW),))
        assert server.counters["envelopes_received"] == 1


@asynchronous
async def test_what_is_no_envelope_is_not_posted(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode), connect(enode) as peer:
        with pytest.raises(RlpError):
            await peer.post([b"\xc0"])
        assert server.counters["packets_messages_malformed"] == 0
