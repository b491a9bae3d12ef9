"""Envelopes and messages as text: a line for a person, an object for a program."""

from typing import Any

from wakumail.base.text import printable, utc
from wakumail.devp2p.keys import node_id
from wakumail.node.messages import ReceivedMessage
from wakumail.waku.envelope import Envelope

SIGNER_DIGITS = 16
"""Hexadecimal digits of a signer's public key that a line shows."""

MAX_BINARY = 64
"""Most bytes of a payload that a line shows if it is not text."""


def line(envelope: Envelope, message: ReceivedMessage | None) -> str:
    """Creation time, topic, hash, size; for a message also its signer and its text."""
    size = len(envelope.rlp)
    words = [utc(envelope.created), envelope.topic.hex(), envelope.hash.hex(), str(size)]
    if message is not None:
        words += [_signer(message), _shown(message.payload)]
    return " ".join(words)


def entry(envelope: Envelope) -> dict[str, Any]:
    """The object of an envelope that no key opened."""
    return {
        "created": envelope.created,
        "topic": envelope.topic,
        "hash": envelope.hash,
        "size": len(envelope.rlp),
    }


def message_entry(message: ReceivedMessage) -> dict[str, Any]:
    """The object of a message and its envelope; `text` is None if the payload is not text."""
    signer = None if message.signer is None else node_id(message.signer)
    payload = message.payload
    return entry(message.envelope) | {"signer": signer, "payload": payload, "text": _text(payload)}


def _signer(message: ReceivedMessage) -> str:
    if message.signer is None:
        return "unsigned"
    return node_id(message.signer).hex()[:SIGNER_DIGITS] + "…"


def _shown(payload: bytes) -> str:
    if _text(payload) is None:
        return "0x" + payload[:MAX_BINARY].hex() + ("…" if len(payload) > MAX_BINARY else "")
    return printable(payload)


def _text(payload: bytes) -> str | None:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None
