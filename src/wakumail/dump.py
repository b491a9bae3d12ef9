"""Envelope dumps: a plain concatenation of envelope RLPs, read and written as a stream."""

from collections.abc import Iterator
from typing import BinaryIO

from wakumail.envelope import Batch, parse_stream
from wakumail.errors import RlpError

CHUNK_SIZE = 4 << 20
"""Bytes read at a time."""

MAX_ENVELOPE = 16 << 20
"""Bytes of one envelope in a dump; what claims to be larger is garbage."""


def read_dump(file: BinaryIO) -> Iterator[Batch]:
    """Batches of the envelopes in `file`; RlpError at the first byte that is none."""
    rest = b""
    while chunk := file.read(CHUNK_SIZE):
        batch, used = parse_stream(rest + chunk, final=False)
        rest = (rest + chunk)[used:]
        if len(rest) > MAX_ENVELOPE:
            raise RlpError(f"no envelope of the dump has more than {MAX_ENVELOPE} bytes")
        if len(batch):
            yield batch
    if rest:
        batch, _ = parse_stream(rest, final=True)
        yield batch
