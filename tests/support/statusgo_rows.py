"""Rows as a status-go mailserver stores them."""

from tests.support.envelopes import make
from wakumail.archive.statusgo_storage import Row
from wakumail.waku.envelope import Envelope

TOPICS = [b"abcd", b"\x00\x00\x00\x00", b"\xff\xfe\xfd\xfc"]
CREATED = 1_600_000_000


def key(envelope: Envelope) -> bytes:
    return envelope.created.to_bytes(4, "big") + envelope.hash + envelope.topic


def row(envelope: Envelope) -> Row:
    return key(envelope), envelope.rlp


def some(number: int, *, size: int = 200) -> list[Envelope]:
    """Envelopes in the order of their keys."""
    return sorted(make(number, TOPICS, created=CREATED, spread=1000, size=size), key=key)
