"""What keys open in envelopes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from wakumail.devp2p.keys import PrivateKey, PublicKey
from wakumail.errors import MessageError
from wakumail.waku.envelope import Envelope
from wakumail.waku.message import open_message

Key: TypeAlias = bytes | PrivateKey
"""What opens a message: a symmetric key (message.KEY_SIZE bytes), or the receiver's private one."""

TRIALS = 256
"""Trials of a key on an envelope between two looks whether the result is wanted still: 20 ms."""

MESSAGE_COST = 1024
"""Bytes of memory that a message takes beside three times its envelope: RLP, data, plain text."""


@dataclass(frozen=True, eq=False, slots=True)
class ReceivedMessage:
    """A message that a key of ours opened, with the envelope that it came in."""

    envelope: Envelope
    payload: bytes
    padding: bytes
    signer: PublicKey | None
    recipient: PublicKey | None
    """Whose private key opened it; None where a symmetric one did."""

    @property
    def pow(self) -> float:
        """The proof of work of the envelope."""
        return self.envelope.pow

    @property
    def cost(self) -> int:
        """Bytes of memory that it takes."""
        return MESSAGE_COST + 3 * len(self.envelope.rlp)


def open_envelope(envelope: Envelope, key: Key) -> ReceivedMessage | None:
    """The message in an envelope; None where it is not for `key`, or its signature is nobody's."""
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
