"""Envelope dumps (envelope RLPs one after another), and the shape of all sources of an import."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Literal, NamedTuple

from wakumail.base import rlp
from wakumail.errors import RlpError
from wakumail.waku.envelope import MAX_STREAM_ENVELOPE, Batch, Envelope, parse, parse_stream

SOURCE_PART_SIZE = 16 << 20
"""Bytes after which a part of a source ends; its last envelope may exceed them. A part is a commit:
each writes the pages of many topics again, and a server beside it waits for it."""

OFFSET_SIZE = 8
"""Bytes of a position in a dump: the offset, big-endian."""

Unit = Literal["B", "row"]


class SourcePart(NamedTuple):
    """Some envelopes of a source, and the number of items that were left out.

    batch: may be empty; position: of the next part; malformed: items that are no envelope;
    misplaced: rows whose key names another envelope; done: size of the part, in the source's unit.
    """

    batch: Batch
    position: bytes
    malformed: int
    misplaced: int
    done: int


class Source(NamedTuple):
    """An open source of envelopes, and its approximate size in bytes or rows, if known."""

    parts: Iterator[SourcePart]
    unit: Unit
    total: int | None
    unread: Sequence[str] = ()
    """Sentences on what the source has lost and `parts` will not give."""


def read_dump(file: BinaryIO, *, after: bytes = b"") -> Iterator[SourcePart]:
    """The envelopes of a dump, from the position `after` on.

    An item that is no envelope is counted and left out. RlpError for bytes that are no RLP, because
    the beginning of the next item is unknown.
    """
    offset = int.from_bytes(after, "big")
    if offset:
        file.seek(offset)
    rest = b""
    while True:
        fresh = file.read(SOURCE_PART_SIZE)
        data = rest + fresh
        if not data:
            return
        batch, used, malformed = _parse(data, final=not fresh)
        rest = data[used:]
        offset += used
        if len(rest) > MAX_STREAM_ENVELOPE or (not fresh and rest):
            raise RlpError(f"no RLP at byte {offset} of the dump, or an envelope cut short")
        yield SourcePart(batch, offset.to_bytes(OFFSET_SIZE, "big"), malformed, 0, used)


def _parse(data: bytes, *, final: bool) -> tuple[Batch, int, int]:
    """A batch, the number of bytes used, and the number of items that were no envelopes."""
    with contextlib.suppress(RlpError):
        return *parse_stream(data, final=final), 0
    kept: list[bytes] = []
    malformed = used = 0
    view = memoryview(data)
    while used < len(data):
        try:
            _, size = rlp.decode_prefix(view[used:])
        except RlpError:
            break
        item = data[used : used + size]
        used += size
        try:
            Envelope.decode(item)
        except RlpError:
            malformed += 1
        else:
            kept.append(item)
    return parse(rlp.join_list(kept)), used, malformed
