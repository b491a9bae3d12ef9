"""Messages made and opened in threads, so that the event loop stays free."""

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, TypeVar

from wakumail.devp2p.keys import PrivateKey, PublicKey, Random
from wakumail.errors import MessageError, WakumailError
from wakumail.waku.envelope import MAX_TIME, TOPIC_SIZE, Envelope, make_envelope
from wakumail.waku.message import open_message, seal
from wakumail.waku.pow import mine as mine_slice

T = TypeVar("T")

Key: TypeAlias = bytes | PrivateKey
"""Opens a message: a symmetric key (32 bytes), or the receiver's private key."""

SLICE_TRIALS = 256
"""Trials of a key on an envelope, 20 ms, after which a cancelled `open_envelopes` ends."""

MESSAGE_COST = 1024
"""Bytes of memory of a message, beside three times its envelope: RLP, data, plain text."""

DEFAULT_TTL = 50
"""Seconds that a message lives unless its poster says otherwise (geth)."""

DEFAULT_TARGET = 0.002
"""PoW of a message unless its poster says otherwise: nodes ask for it by default."""

DEFAULT_MINING_TIME = 30.0
"""Seconds after which the search for that PoW is given up, unless its poster says otherwise."""

SLICE_NONCES = 1 << 17
"""Nonces that a search tries, some 40 ms, before it lets other searches use its thread."""

MINERS = 2
"""Threads for all searches together."""

_miners = ThreadPoolExecutor(MINERS, "miner")


class PowNotReached(WakumailError):
    """No nonce with enough work was found in time."""

    counter = "pow_not_reached"


async def mine(
    expiry: int, ttl: int, topic: bytes, data: bytes, *, target: float, seconds: float
) -> int:
    """A nonce with which the envelope has a PoW of at least `target`.

    PowNotReached after `seconds`, in which at least SLICE_NONCES are tried. ValueError as pow.mine.
    A cancelled search ends after its slice of SLICE_NONCES.
    """
    search = partial(mine_slice, expiry, ttl, topic, data, target=target, max_nonces=SLICE_NONCES)
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    for start in itertools.count(0, SLICE_NONCES):
        nonce = await _in_thread(partial(search, start=start))
        if nonce is not None:
            return nonce
        if clock() >= deadline:
            break
    raise PowNotReached(f"no PoW of {target} within {seconds} s")


async def compose(
    payload: bytes,
    *,
    topic: bytes,
    key: bytes | PublicKey,
    sign_with: PrivateKey | None = None,
    padding: bytes | None = None,
    now: int | None = None,
    ttl: int = DEFAULT_TTL,
    pow_target: float = DEFAULT_TARGET,
    pow_time: float = DEFAULT_MINING_TIME,
    random: Random = os.urandom,
) -> Envelope:
    """An envelope on `topic` (4 bytes) around `payload`, sealed with `key` and mined.

    `key` is a symmetric key (32 bytes) or the public key of the receiver. The envelope is created
    `now` (Unix seconds, by default the present) and lives `ttl` seconds. Its PoW is at least
    `pow_target`, which is searched for at most `pow_time` seconds.

    ValueError for a topic, a key, a payload or a ttl of a wrong size, and for a PoW that no nonce
    shows. PowNotReached when the time is up.
    """
    created = int(time.time()) if now is None else now
    if not 0 < ttl <= MAX_TIME - created:
        raise ValueError(f"a ttl is from 1 to {MAX_TIME - created} seconds, not {ttl}")
    if len(topic) != TOPIC_SIZE:
        raise ValueError(f"a topic has {TOPIC_SIZE} bytes, not {len(topic)}")
    expiry = created + ttl
    data = await _in_thread(
        partial(seal, payload, key=key, sign_with=sign_with, padding=padding, random=random)
    )
    nonce = await mine(expiry, ttl, topic, data, target=pow_target, seconds=pow_time)
    return await _in_thread(partial(make_envelope, expiry, ttl, topic, data, nonce))


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(_miners, work)


@dataclass(frozen=True, eq=False, slots=True)
class ReceivedMessage:
    """A message that one of our keys opened, with its envelope."""

    envelope: Envelope
    payload: bytes
    padding: bytes
    signer: PublicKey | None
    recipient: PublicKey | None
    """The public key of the private one that opened it; None if a symmetric key did."""

    @property
    def pow(self) -> float:
        """The proof of work of the envelope."""
        return self.envelope.pow

    @property
    def cost(self) -> int:
        """Bytes of memory that the message takes."""
        return MESSAGE_COST + 3 * len(self.envelope.rlp)


def open_envelope(envelope: Envelope, key: Key) -> ReceivedMessage | None:
    """The message in an envelope; None if it is not for `key`, or its signature is invalid."""
    try:
        message = open_message(envelope.data, key)
        signer = message.signer
    except MessageError:
        return None
    recipient = key.public_key if isinstance(key, PrivateKey) else None
    return ReceivedMessage(envelope, message.payload, message.padding, signer, recipient)


async def open_envelopes(
    envelopes: Sequence[Envelope], keys: Sequence[Key]
) -> tuple[ReceivedMessage | None, ...]:
    """The message in each envelope, opened with the first key that fits; None if none does.

    A message with an invalid signature counts as not opened. The work is done in a thread.
    ValueError for a symmetric key of another size.
    """
    if not keys:
        return (None,) * len(envelopes)
    step = max(1, SLICE_TRIALS // len(keys))
    messages: list[ReceivedMessage | None] = []
    for start in range(0, len(envelopes), step):
        messages += await asyncio.to_thread(open_all, envelopes[start : start + step], keys)
    return tuple(messages)


def open_all(envelopes: Sequence[Envelope], keys: Sequence[Key]) -> list[ReceivedMessage | None]:
    """The same at once, for those that have no loop."""
    return [
        next(filter(None, (open_envelope(envelope, key) for key in keys)), None)
        for envelope in envelopes
    ]
