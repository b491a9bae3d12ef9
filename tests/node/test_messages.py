"""Proof of work in threads: found, given up, cancelled. Whole envelopes are composed."""

import asyncio
import os
import threading
from typing import Any

import pytest

from tests.support.patience import PATIENCE, asynchronous, eventually
from wakumail.base.keccak import keccak256
from wakumail.devp2p.keys import private_key
from wakumail.node import messages
from wakumail.node.messages import MINERS, PowNotReached, compose, mine
from wakumail.waku.envelope import MAX_TIME, Envelope, make_envelope
from wakumail.waku.message import SYMMETRIC_KEY_SIZE, open_message
from wakumail.waku.pow import mine as pow_mine

NOW = 1_600_000_000
TTL = 50
TOPIC = b"abcd"
DATA = bytes(300)
KEY = keccak256(b"a symmetric key")
SIGNER = private_key(keccak256(b"a signer"))
RECEIVER = private_key(keccak256(b"a receiver"))
IMPOSSIBLE = 2.0**200
"""A PoW that is never found in time, though some nonce may show it."""


@asynchronous
async def test_finds_a_nonce() -> None:
    nonce = await mine(NOW + TTL, TTL, TOPIC, DATA, target=0.01, seconds=60)
    assert make_envelope(NOW + TTL, TTL, TOPIC, DATA, nonce).pow >= 0.01


@asynchronous
async def test_goes_on_from_slice_to_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    first = pow_mine(NOW + TTL, TTL, TOPIC, DATA, target=0.05)
    assert first is not None
    monkeypatch.setattr(messages, "SLICE_NONCES", 7)
    assert first > 7
    assert await mine(NOW + TTL, TTL, TOPIC, DATA, target=0.05, seconds=60) == first


@asynchronous
async def test_no_work_is_no_search() -> None:
    assert await mine(NOW + TTL, TTL, TOPIC, DATA, target=0.0, seconds=0.0) == 0


@asynchronous
async def test_gives_up_when_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "SLICE_NONCES", 10)
    with pytest.raises(PowNotReached, match=r"within 0\.01 s"):
        await mine(NOW + TTL, TTL, TOPIC, DATA, target=IMPOSSIBLE, seconds=0.01)


class Watched:
    """Replaces `pow.mine`: counts slices, and holds them until it is free."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.running = self.most = self.slices = 0
        self.threads: set[int] = set()
        self.topics: list[bytes] = []
        self.free = threading.Event()
        self.free.set()
        self._lock = threading.Lock()
        monkeypatch.setattr(messages, "mine_slice", self)

    def __call__(self, expiry: int, ttl: int, topic: bytes, data: bytes, **named: Any) -> Any:
        with self._lock:
            self.slices += 1
            self.running += 1
            self.most = max(self.most, self.running)
            self.threads.add(threading.get_ident())
            self.topics.append(topic)
        assert self.free.wait(PATIENCE)
        try:
            return pow_mine(expiry, ttl, topic, data, **named)
        finally:
            with self._lock:
                self.running -= 1


def endless(topic: bytes = TOPIC) -> asyncio.Task[int]:
    """A search that only ends when it is cancelled."""
    search = mine(NOW + TTL, TTL, topic, DATA, target=IMPOSSIBLE, seconds=1e9)
    return asyncio.create_task(search)


async def cancelled(*tasks: asyncio.Task[int]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with pytest.raises(asyncio.CancelledError):
            await task


@asynchronous
async def test_a_cancelled_search_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "SLICE_NONCES", 10)
    watched = Watched(monkeypatch)
    task = endless()
    await eventually(lambda: watched.slices > 3)  # the loop stays free
    await cancelled(task)
    await eventually(lambda: watched.running == 0)
    slices = watched.slices
    await mine(NOW + TTL, TTL, b"last", DATA, target=0.0, seconds=0.0)
    assert watched.slices == slices + 1
    assert threading.get_ident() not in watched.threads


@asynchronous
async def test_searches_share_the_miners(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each search makes progress, however many and however long the others are."""
    monkeypatch.setattr(messages, "SLICE_NONCES", 10)
    watched = Watched(monkeypatch)
    watched.free.clear()
    others = [endless() for _ in range(MINERS + 3)]
    await eventually(lambda: watched.running == MINERS)
    last = endless(b"last")
    watched.free.set()
    await eventually(lambda: watched.topics.count(b"last") > 3)
    assert watched.topics.count(TOPIC) > MINERS + 3
    assert watched.most == MINERS
    await cancelled(last, *others)


@asynchronous
async def test_what_cannot_be_mined() -> None:
    with pytest.raises(ValueError, match="no nonce shows"):
        await mine(NOW + TTL, TTL, TOPIC, DATA, target=float("inf"), seconds=1)
    with pytest.raises(ValueError, match="a topic has 4 bytes"):
        await mine(NOW + TTL, TTL, b"abc", DATA, target=1.0, seconds=1)


async def composed(payload: bytes = b"payload", **changes: Any) -> Envelope:
    choices: dict[str, Any] = {
        "topic": TOPIC,
        "key": KEY,
        "now": NOW,
        "ttl": TTL,
        "pow_target": 0.002,
        "pow_time": 60.0,
        "random": os.urandom,
    }
    return await compose(payload, **choices | changes)


@asynchronous
async def test_composes_for_a_symmetric_key() -> None:
    made = await composed(sign_with=SIGNER)
    assert (made.expiry, made.ttl, made.topic, made.created) == (NOW + TTL, TTL, TOPIC, NOW)
    assert made.pow >= 0.002
    message = open_message(made.data, KEY)
    assert message.payload == b"payload"
    assert message.signer == SIGNER.public_key


@asynchronous
async def test_composes_for_a_public_key() -> None:
    made = await composed(key=RECEIVER.public_key, padding=b"chosen")
    message = open_message(made.data, RECEIVER)
    assert (message.payload, message.padding, message.signer) == (b"payload", b"chosen", None)


@asynchronous
async def test_the_longest_ttl() -> None:
    made = await composed(ttl=MAX_TIME - NOW, pow_target=0.0)
    assert (made.expiry, made.created) == (MAX_TIME, NOW)


@pytest.mark.parametrize("ttl", [-1, 0, MAX_TIME - NOW + 1, 1 << 70])
@asynchronous
async def test_ttl_out_of_range(ttl: int) -> None:
    with pytest.raises(ValueError, match="a ttl is from 1 to"):
        await composed(ttl=ttl)


@asynchronous
async def test_what_cannot_be_composed() -> None:
    with pytest.raises(ValueError, match=f"has {SYMMETRIC_KEY_SIZE} bytes"):
        await composed(key=b"short")
    with pytest.raises(ValueError, match="a topic has 4 bytes"):
        await composed(topic=b"abcde")
    with pytest.raises(PowNotReached):
        await composed(pow_target=IMPOSSIBLE, pow_time=0.0)
