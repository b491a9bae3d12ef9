"""Envelopes made: sealed and their proof of work mined, in threads that leave the loop free."""

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from wakumail.devp2p.keys import PrivateKey, PublicKey, Random
from wakumail.errors import WakumailError
from wakumail.waku.envelope import MAX_TIME, Envelope, make_envelope
from wakumail.waku.message import seal
from wakumail.waku.pow import mine as mine_slice

T = TypeVar("T")

DEFAULT_TTL = 50
"""Seconds that a message lives when its poster does not say (geth)."""

SLICE = 1 << 17
"""Nonces that a search tries, some 40 ms, before it lets others use its thread."""

MINERS = 2
"""Threads that all searches share."""

_miners = ThreadPoolExecutor(MINERS, "miner")


class PowNotReached(WakumailError):
    """The time was up before a nonce was found that shows enough work."""

    counter = "pow_not_reached"


async def mine(
    expiry: int, ttl: int, topic: bytes, data: bytes, *, target: float, seconds: float
) -> int:
    """A nonce with which the envelope has a PoW of at least `target`.

    PowNotReached after `seconds`, in which one SLICE is tried at least. ValueError as pow.mine. A
    search that is cancelled ends with its slice.
    """
    search = partial(mine_slice, expiry, ttl, topic, data, target=target, max_nonces=SLICE)
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    for start in itertools.count(0, SLICE):
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
    now: int,
    ttl: int,
    target: float,
    seconds: float,
    random: Random,
) -> Envelope:
    """An envelope around `payload`, created `now` (Unix seconds), sealed and mined as asked.

    ValueError as message.seal and pow.mine and for a `ttl` (seconds) that ends after
    MAX_TIME, PowNotReached as `mine`.
    """
    if not 0 < ttl <= MAX_TIME - now:
        raise ValueError(f"a ttl is from 1 to {MAX_TIME - now} seconds, not {ttl}")
    expiry = now + ttl
    data = await _in_thread(
        partial(seal, payload, key=key, sign_with=sign_with, padding=padding, random=random)
    )
    nonce = await mine(expiry, ttl, topic, data, target=target, seconds=seconds)
    return await _in_thread(partial(make_envelope, expiry, ttl, topic, data, nonce))


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(_miners, work)
