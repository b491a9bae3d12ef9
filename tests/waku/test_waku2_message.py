"""Envelopes as messages of Waku 2: the vectors of 14/WAKU2-MESSAGE, and content topics."""

import hashlib

import pytest

from wakumail.waku.envelope import make_envelope
from wakumail.waku.waku2_message import (
    PUBSUB_TOPIC,
    content_topic,
    envelope_message_hash,
    message_hash,
    read_content_topic,
)

PAYLOAD = bytes.fromhex("010203045445535405060708")
TOPIC = "/waku/2/default-content/proto"
META = b"super-secret"
TIMESTAMP = 0x175789BFA23F8400
VECTORS = {
    "meta of 12 bytes": (
        *(PAYLOAD, META),
        "64cce733fed134e83da02b02c6f689814872b1a0ac97ea56b76095c3c72bfe05",
    ),
    "meta of 64 bytes": (
        *(PAYLOAD, bytes(range(64))),
        "7158b6498753313368b9af8f6e0a0a05104f68f972981da42a43bc53fb0c1b27",
    ),
    "no meta": (
        *(PAYLOAD, b""),
        "a2554498b31f5bcdfcbf7fa58ad1c2d45f0254f3f8110a85588ec3cf10720fd8",
    ),
    "no payload": (
        *(b"", META),
        "483ea950cb63f9b9d6926b262bb36194d3f40a0463ce8446228350bd44e96de4",
    ),
}


@pytest.mark.parametrize(("payload", "meta", "expected"), VECTORS.values(), ids=VECTORS)
def test_the_vectors(payload: bytes, meta: bytes, expected: str) -> None:
    assert PUBSUB_TOPIC == "/waku/2/default-waku/proto"
    assert message_hash(payload, TOPIC, meta, TIMESTAMP).hex() == expected


def test_the_hash_of_an_envelope() -> None:
    """Its data is the payload; its time is that of its creation, in nanoseconds."""
    envelope = make_envelope(1_600_000_050, 50, bytes.fromhex("1a2b3c4d"), b"sealed", 7)
    told = b"/waku/2/default-waku/proto" + b"sealed" + b"/waku/1/0x1a2b3c4d/rfc26"
    told += (1_600_000_000_000_000_000).to_bytes(8, "big")
    assert envelope_message_hash(envelope) == hashlib.sha256(told).digest()


def test_content_topics() -> None:
    """The example of 23/WAKU2-TOPICS."""
    topic = bytes.fromhex("007f80ff")
    assert content_topic(topic) == "/waku/1/0x007f80ff/rfc26"
    assert read_content_topic("/waku/1/0x007f80ff/rfc26") == topic
    for other in ("/toy-chat/2/luzhou/proto", "/waku/2/0x007f80ff/rfc26", "/waku/1/x/proto"):
        assert read_content_topic(other) is None


@pytest.mark.parametrize(
    "text",
    [
        *("", "chat", "0x007f80ff", "/waku/1/0x007f80ff", "/waku/1/0x007f80ff/rfc26/"),
        *("waku/1/0x007f80ff/rfc26", "/waku/1//rfc26", "/waku/1/007f80ff/rfc26"),
        *("/waku/1/0x007f80f/rfc26", "/waku/1/0x007F80FF/rfc26", "/waku/1/0x007f80fg/rfc26"),
        "/waku/1/0x007f80ff/rfc26\n",
    ],
)
def test_what_is_no_content_topic(text: str) -> None:
    with pytest.raises(ValueError, match="topic"):
        read_content_topic(text)
