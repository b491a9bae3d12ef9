"""Envelopes for tests, made from a seed so that a failure can be repeated."""

import random
import time
from collections.abc import Sequence
from typing import Any

from wakumail.waku.envelope import Envelope, Rules, make_envelope

TTL = 300
"""Seconds, more than PATIENCE: an envelope does not expire while a test waits."""


def rules_with(**chosen: Any) -> Rules:
    """The rules of a mailserver with default settings, apart from those that are given."""
    usual: dict[str, Any] = {"min_pow": 0.002, "min_pow_large": 0.000002, "max_envelope": 1 << 20}
    return Rules(**usual | chosen)


def make(
    count: int,
    topics: Sequence[bytes],
    *,
    seed: int = 1,
    created: int | None = None,
    spread: int = 30,
    size: int = 200,
) -> list[Envelope]:
    """Envelopes of the last `spread` seconds before `created` (default: now), topics in turn."""
    source = random.Random(seed)
    newest = int(time.time()) if created is None else created
    envelopes = []
    for number in range(count):
        expiry = newest - source.randrange(spread) + TTL
        data = source.randbytes(source.randrange(1, 2 * size))
        envelopes.append(make_envelope(expiry, TTL, topics[number % len(topics)], data, number))
    return envelopes


def newest_first(envelopes: Sequence[Envelope]) -> list[Envelope]:
    """The envelopes in the order in which a mailserver answers."""
    return sorted(envelopes, key=lambda e: (e.created, e.hash), reverse=True)


def dump(envelopes: Sequence[Envelope]) -> bytes:
    """The envelopes as a dump."""
    return b"".join(envelope.rlp for envelope in envelopes)
