"""What keys open in the envelopes that came as history."""

import asyncio
from collections.abc import Sequence
from typing import TypeAlias

from wakumail.envelope import Envelope
from wakumail.filters import ReceivedMessage, open_envelope
from wakumail.keys import PrivateKey

Key: TypeAlias = bytes | PrivateKey
"""What opens a message: a symmetric key (message.KEY_SIZE bytes), or the receiver's private one."""

TRIALS = 256
"""Trials of a key on an envelope between two looks whether the result is wanted still: 20 ms."""


async def open_envelopes(
    envelopes: Sequence[Envelope], keys: Sequence[Key]
) -> tuple[ReceivedMessage | None, ...]:
    """The message in each envelope, by the first key that opens it; None where none does.

    A message whose signature is nobody's counts as not opened. The work is done in a thread.
    ValueError for a symmetric key of another size.
    """
    if not keys:
        return (None,) * len(envelopes)
    step = max(1, TRIALS // len(keys))
    messages: list[ReceivedMessage | None] = []
    for start in range(0, len(envelopes), step):
        messages += await asyncio.to_thread(_open_all, envelopes[start : start + step], keys)
    return tuple(messages)


def _open_all(envelopes: Sequence[Envelope], keys: Sequence[Key]) -> list[ReceivedMessage | None]:
    return [
        next(filter(None, (open_envelope(envelope, key) for key in keys)), None)
        for envelope in envelopes
    ]
