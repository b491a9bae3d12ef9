"""Posting: the client sends only what one node may send another (6/WAKU1)."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.confirmations import listed
from tests.support.envelopes import TTL
from tests.support.patience import asynchronous, eventually
from tests.support.puppet import mailserver
from tests.support.scripted import scripted
from wakumail.devp2p.keys import PrivateKey
from wakumail.errors import RlpError
from wakumail.mail import client
from wakumail.mail.client import PostRefused, connect, post
from wakumail.mail.posting import Posted, Withheld
from wakumail.node.link import Link
from wakumail.node.messages import compose, open_envelope
from wakumail.waku.confirmations import EnvelopeError
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
    tmp_path: Path, unix_time: int, options: StatusOptions, topic: bytes, age: int, reason: Verdict
) -> None:
    envelope = make_envelope(unix_time - age + TTL, TTL, topic, b"", 0)
    async with mailserver(tmp_path, node={"options": options}) as (server, enode):
        async with connect(enode) as peer:
            posted = await peer.post([envelope.rlp])
        assert posted == Posted(0, 0, (), (Withheld(envelope.hash, reason),))
        assert server.counters["envelopes_received"] == 0


def lasting(ttl: int) -> Envelope:
    """An envelope without work. Its PoW is 1 / (size * ttl), or a few times that by chance."""
    return make_envelope(int(time.time()) + ttl, ttl, TOPIC, bytes(100), 0)


@asynchronous
async def test_the_others_of_a_packet_are_posted(tmp_path: Path) -> None:
    strong, weak = lasting(1000), lasting(10_000_000)
    options = StatusOptions(pow=(strong.pow + weak.pow) / 2, confirmations=True)
    async with mailserver(tmp_path, node={"options": options}) as (server, enode):
        async with connect(enode) as peer:
            posted = await peer.post([weak.rlp, strong.rlp])
        assert posted == Posted(1, 1, (), (Withheld(weak.hash, Verdict.LOW_POW),))
        assert server.counters["envelopes_received"] == 1


@asynchronous
async def test_a_refused_envelope_is_not_confirmed_however_often_it_is_posted(
    tmp_path: Path, unix_time: int
) -> None:
    """Twice in a packet, in two packets, and in packets that are the same."""
    early = make_envelope(unix_time + 1000, 10, TOPIC, bytes(600_000), 0)
    good = [make_envelope(unix_time + TTL, TTL, TOPIC, bytes(10), nonce) for nonce in range(3)]
    small = make_envelope(unix_time + 1000, 10, TOPIC, b"", 0)
    async with mailserver(tmp_path) as (_, enode), connect(enode) as peer:
        for posts, refused in (
            ([early], 1),
            ([small] * 5, 5),
            ([small, good[0], small], 2),
            ([early, good[1], early, good[2], early], 3),
            ([early] * 4, 4),
            ([good[0], good[0]], 0),
        ):
            posted = await peer.post(posts)
            assert (posted.sent, posted.confirmed) == (len(posts), len(posts) - refused)
            errors = [error.hash for error in posted.errors]
            assert errors == [each.hash for each in posts if each in (early, small)]


@asynchronous
async def test_all_of_many_tiny_envelopes_may_be_refused(tmp_path: Path, unix_time: int) -> None:
    """They are sent in packets whose errors fit into one Message Response each."""
    tiny = [make_envelope(unix_time + 1000, 10, TOPIC, b"", nonce).rlp for nonce in range(20_000)]
    async with mailserver(tmp_path) as (_, enode), connect(enode) as peer:
        posted = await peer.post(tiny)
    assert (posted.sent, posted.confirmed, len(posted.errors)) == (20_000, 0, 20_000)


@asynchronous
async def test_what_is_no_envelope_is_not_posted(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode), connect(enode) as peer:
        with pytest.raises(RlpError):
            await peer.post([b"\xc0"])
        assert server.counters["packets_messages_malformed"] == 0


# -- in one call -------------------------------------------------------------------------------

KEY = bytes(range(32))
EASY: dict[str, Any] = {"topic": TOPIC, "key": KEY, "pow_target": 0.0}


@asynchronous
async def test_a_message_in_one_call(tmp_path: Path) -> None:
    """The envelope is on disk when the call returns, and the key opens it."""
    author = PrivateKey()
    async with mailserver(tmp_path) as (server, enode):
        envelope = await post(str(enode), b"hello", sign_with=author, ttl=500, **EASY)
        assert server.counters["envelopes_archived"] == 1
    assert (envelope.topic, envelope.ttl) == (TOPIC, 500)
    message = open_envelope(envelope, KEY)
    assert message is not None
    assert (message.payload, message.signer) == (b"hello", author.public_key)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (StatusOptions(pow=1e9, confirmations=True), "not sent: too little PoW"),
        (StatusOptions(pow=0.0, topic_interest=()), "not sent: unwanted topic"),
        (StatusOptions(pow=0.0), "not confirmed"),
    ],
    ids=["too little PoW", "an unwanted topic", "unconfirmed"],
)
@asynchronous
async def test_a_message_that_is_not_taken(
    tmp_path: Path, options: StatusOptions, text: str
) -> None:
    async with mailserver(tmp_path, node={"options": options}) as (_, enode):
        with pytest.raises(PostRefused, match=text):
            await post(enode, b"hello", **EASY)


@asynchronous
async def test_a_message_that_nobody_confirms(tmp_path: Path) -> None:
    async with mailserver(tmp_path, node={"options": StatusOptions(pow=0.0)}) as (server, enode):
        await post(enode, b"hello", unconfirmed=True, **EASY)
        await eventually(lambda: server.counters["envelopes_received"] == 1)


@asynchronous
async def test_a_message_that_is_refused() -> None:
    envelope = await compose(b"hello", **EASY)

    def refuse(link: Link, batch_hash: bytes) -> None:
        errors = (EnvelopeError(envelope.hash, 1, "from the future"),)
        link.peer.confirm([(batch_hash, listed(errors))])

    async def composed(payload: bytes, **choices: Any) -> Envelope:
        return envelope

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "compose", composed)
        async with scripted(on_batch=refuse) as server:
            with pytest.raises(PostRefused, match=r"refused: from the future \(1\)"):
                await post(server.enode, b"hello", **EASY)
