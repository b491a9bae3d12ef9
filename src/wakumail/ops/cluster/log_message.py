"""A message of the log: the version of its form, then envelopes one after another, as in a dump."""

from collections.abc import Iterable

from wakumail.base.keccak import keccak256
from wakumail.errors import RlpError, WakumailError
from wakumail.waku.envelope import Batch, parse_stream

VERSION = 1
"""The first byte of every message."""

MAX_MESSAGE = (1 << 20) - 1024
"""Bytes of a message. JetStream's default limit of 1 MiB counts the headers too."""

MAX_STREAM = MAX_MESSAGE - 1
"""Bytes of the envelopes of a message, so also those of the largest envelope."""


class NotABatch(WakumailError):
    """A message of the log that no host of this version has written; the text says why."""

    counter = "cluster_messages_foreign"


def pack(streams: Iterable[bytes]) -> bytes:
    """The message of these envelopes (their RLPs joined, see Batch.stream)."""
    return b"".join((bytes([VERSION]), *streams))


def unpack(message: bytes) -> Batch:
    """The envelopes of a message, all accepted. NotABatch."""
    if not message or message[0] != VERSION:
        raise NotABatch(f"version {message[0]}, not {VERSION}" if message else "it is empty")
    if len(message) > MAX_MESSAGE:
        raise NotABatch(f"{len(message)} bytes, more than {MAX_MESSAGE}")
    try:
        batch, _ = parse_stream(message[1:], final=True)
    except RlpError as error:
        raise NotABatch(str(error)) from error
    if not len(batch):
        raise NotABatch("it has no envelope")
    return batch


def message_id(message: bytes) -> str:
    """The id by which the log recognises a message that is sent twice: its Keccak-256."""
    return keccak256(message).hex()


def split(batch: Batch) -> list[bytes]:
    """The accepted envelopes of a large batch, in streams that each fit into a message."""
    streams: list[bytes] = []
    size = MAX_STREAM
    parts: list[bytes] = []
    for index, envelope in enumerate(batch):
        if batch.verdict(index):
            continue
        size += len(envelope.rlp)
        if size > MAX_STREAM:
            streams.append(b"".join(parts))
            parts, size = [], len(envelope.rlp)
        parts.append(envelope.rlp)
    return [*streams[1:], b"".join(parts)]
