"""Envelope dumps, a plain concatenation of envelope RLPs; and what an import reads in general."""

import contextlib
from collections.abc import Iterator
from typing import BinaryIO, Literal, NamedTuple

from wakumail.base import rlp
from wakumail.errors import RlpError
from wakumail.waku.envelope import MAX_STREAM_ENVELOPE, Batch, Envelope, parse, parse_stream

IMPORT_CHUNK_SIZE = 4 << 20
"""Bytes that make a chunk full; one envelope may go beyond."""

OFFSET_SIZE = 8
"""Bytes of a position in a dump: the offset, big-endian."""

Unit = Literal["B", "row"]


class Chunk(NamedTuple):
    """Some envelopes of a source, and what was left out.

    batch: may be empty; position: where to go on; malformed: what is no envelope; misplaced: rows
    whose key names another envelope; done: how much of the source that was, in its unit.
    """

    batch: Batch
    position: bytes
    malformed: int
    misplaced: int
    done: int


class Source(NamedTuple):
    """An open source of envelopes, and about how much there is, in bytes or in rows, if known."""

    chunks: Iterator[Chunk]
    unit: Unit
    total: int | None


def read_dump(file: BinaryIO, *, after: bytes = b"") -> Iterator[Chunk]:
    """The envelopes of a dump from an earlier position on.

    An item that is no envelope is counted and left out. RlpError at what is no RLP: where the next
    item would begin cannot be told.
    """
    offset = int.from_bytes(after, "big")
    if offset:
        file.seek(offset)
    rest = b""
    while True:
        fresh = file.read(IMPORT_CHUNK_SIZE)
        data = rest + fresh
        if not data:
            return
        batch, used, malformed = _parse(data, final=not fresh)
        rest = data[used:]
        offset += used
        if len(rest) > MAX_STREAM_ENVELOPE or (not fresh and rest):
            raise RlpError(f"no RLP at byte {offset} of the dump, or an envelope cut short")
        yield Chunk(batch, offset.to_bytes(OFFSET_SIZE, "big"), malformed, 0, used)


def _parse(data: bytes, *, final: bool) -> tuple[Batch, int, int]:
    """A batch, the bytes used, and how many items were no envelopes."""
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
