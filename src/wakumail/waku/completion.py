"""Request Complete packets, which end the answer to a request for history, and cursors.

The two forms of a packet on the wire:

    BYTES   one byte string, in Go and 6/WAKU1:
            request id (32)  last hash (32)  [cursor (36)]
            "ERROR="  request id (32)  text
    LIST    [request id, last hash, cursor], in 8/WAKU-MAIL and nim; there is no form for errors
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from wakumail.base.rlp import Item, as_bytes, as_list, decode, encode
from wakumail.base.text import printable
from wakumail.errors import DisconnectReason, ProtocolError, RlpError
from wakumail.waku.packets import HASH_SIZE

CURSOR_SIZE = 36
"""Bytes of a cursor. Go clients ignore a cursor of any other size."""

ZERO_HASH = bytes(HASH_SIZE)
"""The last hash of an answer without envelopes."""

ERROR_PREFIX = b"ERROR="

MAX_COMPLETION_SIZE = 2 * HASH_SIZE + CURSOR_SIZE
"""Bytes of a BYTES completion without an error; Go clients refuse more."""

MAX_FOREIGN_CURSOR = 256
"""Bytes of a cursor in a LIST completion; other servers may have cursors of another size."""

MAX_ERROR_SIZE = 1024
"""Bytes of an error text; the rest is cut off."""


class CompletionForm(StrEnum):
    """The two forms of a Request Complete packet."""

    BYTES = "bytes"
    LIST = "list"


class CompletionError(ProtocolError):
    """A Request Complete packet in neither form."""

    counter = "completion_malformed"
    reason = DisconnectReason.SUBPROTOCOL_ERROR


@dataclass(frozen=True, slots=True)
class Completion:
    """The end of the answer to the request `request_id` (32 bytes)."""

    request_id: bytes
    last_hash: bytes = ZERO_HASH
    """The hash of the last envelope that was sent; zeros if there was none."""
    cursor: bytes = b""
    """The start of the next page; empty if and only if there are no more envelopes."""
    error: str | None = None
    """The reason of a refusal; None if the request was answered."""

    def encode(self, form: CompletionForm) -> bytes:
        """The payload of the packet. LIST has no errors: an error becomes an empty answer."""
        if form is CompletionForm.LIST:
            if self.error is not None:
                return encode([self.request_id, ZERO_HASH, b""])
            return encode([self.request_id, self.last_hash, self.cursor])
        if self.error is not None:
            return encode(ERROR_PREFIX + self.request_id + self.error.encode()[:MAX_ERROR_SIZE])
        return encode(self.request_id + self.last_hash + self.cursor)

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Read a payload in either form; CompletionError when it is in neither."""
        try:
            item = decode(payload, max_depth=1)
            return cls._of_list(item) if isinstance(item, list) else cls._of_bytes(item)
        except RlpError as error:
            raise CompletionError(f"a malformed completion: {error}") from error

    @classmethod
    def _of_list(cls, items: list[Item]) -> Self:
        request_id, last_hash, *rest = as_list(items, at_least=2)
        cursor = as_bytes(rest[0]) if rest else b""
        if len(cursor) > MAX_FOREIGN_CURSOR:
            raise RlpError(f"a cursor of {len(cursor)} bytes")
        return cls(as_bytes(request_id, HASH_SIZE), as_bytes(last_hash, HASH_SIZE), cursor)

    @classmethod
    def _of_bytes(cls, data: bytes) -> Self:
        """Read it as Go clients do: a hash or cursor that is cut short is ignored."""
        text = len(ERROR_PREFIX) + HASH_SIZE
        if len(data) >= text and data.startswith(ERROR_PREFIX):
            error = printable(data[text:], MAX_ERROR_SIZE)
            return cls(data[len(ERROR_PREFIX) : text], error=error)
        if not HASH_SIZE <= len(data) <= MAX_COMPLETION_SIZE:
            raise RlpError(f"{len(data)} bytes")
        last_hash, cursor = data[HASH_SIZE : 2 * HASH_SIZE], data[2 * HASH_SIZE :]
        return cls(
            data[:HASH_SIZE],
            last_hash if len(last_hash) == HASH_SIZE else ZERO_HASH,
            cursor if len(cursor) == CURSOR_SIZE else b"",
        )


def pack_cursor(created: int, envelope_hash: bytes) -> bytes:
    """The cursor after an envelope: `created` (Unix seconds) in 4 bytes, then its hash."""
    return created.to_bytes(CURSOR_SIZE - HASH_SIZE, "big") + envelope_hash
