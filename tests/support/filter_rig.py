"""Filters under test: envelopes for them, and a way to wait until all are handled."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.archive_model import batch_of
from tests.support.patience import PATIENCE
from wakumail.base.keccak import keccak256
from wakumail.counters import Counters
from wakumail.devp2p.keys import PrivateKey, PublicKey, private_key
from wakumail.node.filters import Filter, Filters
from wakumail.node.messages import ReceivedMessage
from wakumail.waku.envelope import Envelope, make_envelope
from wakumail.waku.message import open_message, seal

NOW = 1_600_000_000
TOPIC, OTHER = b"abcd", b"wxyz"
KEY, OTHER_KEY = keccak256(b"a key"), keccak256(b"another key")
RECEIVER, OTHER_RECEIVER = private_key(keccak256(b"receiver")), private_key(keccak256(b"other"))
ALICE, BOB = private_key(keccak256(b"alice")), private_key(keccak256(b"bob"))


def sealed(
    payload: bytes = b"payload",
    *,
    topic: bytes = TOPIC,
    key: bytes | PublicKey = KEY,
    signer: PrivateKey | None = None,
    nonce: int = 0,
) -> Envelope:
    data = seal(payload, key=key, sign_with=signer, random=os.urandom)
    return make_envelope(NOW + 50, 50, topic, data, nonce)


def payloads(messages: Iterable[ReceivedMessage]) -> list[bytes]:
    return [message.payload for message in messages]


class FilterRig:
    """Filters, their counters, and a way to wait until all offered envelopes are handled."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.filters = Filters(self.counters)

    def install(self, *topics: bytes, key: bytes | PrivateKey = KEY, **choices: Any) -> str:
        return self.filters.install(Filter(topics, key, **choices))

    def offer(self, *envelopes: Envelope, p2p: bool = False) -> None:
        self.filters.offer(batch_of(envelopes), p2p=p2p)

    async def through(self) -> None:
        """Wait for a last envelope, with a filter of its own: all earlier ones are handled then."""
        done = asyncio.Event()
        mark = Filter((b"mark",), KEY, allow_p2p=True)
        mark_id = self.filters.install(mark, lambda _: done.set())
        self.offer(sealed(topic=b"mark"), p2p=True)
        await asyncio.wait_for(done.wait(), PATIENCE)
        self.filters.uninstall(mark_id)

    async def poll(self, filter_id: str) -> list[bytes]:
        await self.through()
        return payloads(self.filters.poll(filter_id))


@asynccontextmanager
async def rig() -> AsyncIterator[FilterRig]:
    made = FilterRig()
    try:
        yield made
    finally:
        await asyncio.wait_for(made.filters.close(), PATIENCE)


class Gate:
    """Replaces `open_message`: holds the thread while it is shut, and notes the calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[bytes, bytes | PrivateKey]] = []
        self.threads: set[int] = set()
        self.free = threading.Event()
        self.free.set()
        monkeypatch.setattr("wakumail.node.messages.open_message", self)

    def __call__(self, data: bytes, key: bytes | PrivateKey) -> Any:
        self.calls.append((data, key))
        self.threads.add(threading.get_ident())
        assert self.free.wait(PATIENCE)
        return open_message(data, key)
