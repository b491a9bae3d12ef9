"""Envelopes as messages of Waku 2: their content topics, times and hashes.

An envelope is told as a bridge between the networks would tell it (15/WAKU-BRIDGE): its data is the
payload, sealed as it is (version 1: 26/WAKU2-PAYLOAD).
"""

import re
from hashlib import sha256

from wakumail.waku.envelope import Envelope

PUBSUB_TOPIC = "/waku/2/default-waku/proto"
"""The pubsub topic of all our messages: the default, which bridges and the Status fleet had."""

SEALED_VERSION = 1
"""The version of a message whose payload is sealed as in Waku 1 (26/WAKU2-PAYLOAD)."""

NANOSECONDS = 10**9
"""In a second: the unit of the timestamps of Waku 2."""

CONTENT_TOPIC = re.compile(r"/([^/\s]+)/([^/\s]+)/([^/\s]+)/([^/\s]+)")
"""Application, version, name, encoding (23/WAKU2-TOPICS, "Content topics")."""

TOPIC_DIGITS = re.compile(r"0x[0-9a-f]{8}")
"""The name in the content topic of an envelope."""


def content_topic(topic: bytes) -> str:
    """The content topic of a topic of four bytes (23/WAKU2-TOPICS, "Bridged topics")."""
    return f"/waku/1/0x{topic.hex()}/rfc26"


def read_content_topic(text: str) -> bytes | None:
    """The topic that a content topic stands for; None if it is not one of Waku 1.

    ValueError for what is no content topic, or one of Waku 1 without a topic of eight lower-case
    hexadecimal digits.
    """
    found = CONTENT_TOPIC.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:80]!r} is no content topic like /waku/1/0x1a2b3c4d/rfc26")
    application, version, name, encoding = found.groups()
    if (application, version, encoding) != ("waku", "1", "rfc26"):
        return None
    if not TOPIC_DIGITS.fullmatch(name):
        raise ValueError(
            f"{text[:80]!r} has no topic of 0x and eight hexadecimal digits in lower case"
        )
    return bytes.fromhex(name[2:])


def message_hash(
    payload: bytes, topic: str, meta: bytes, timestamp: int, pubsub_topic: str = PUBSUB_TOPIC
) -> bytes:
    """The hash of a message, 32 bytes (14/WAKU2-MESSAGE, "Deterministic message hashing").

    `topic` is its content topic, `timestamp` in nanoseconds.
    """
    parts = (pubsub_topic.encode(), payload, topic.encode(), meta, timestamp.to_bytes(8, "big"))
    return sha256(b"".join(parts)).digest()


def envelope_message_hash(envelope: Envelope) -> bytes:
    """The hash of an envelope as a message of Waku 2."""
    topic = content_topic(envelope.topic)
    return message_hash(envelope.data, topic, b"", envelope.created * NANOSECONDS)
