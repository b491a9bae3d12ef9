"""Splits a stream into JSON values, with or without whitespace between them."""

import re
import sys

from wakumail.rpc.jsonrpc import INVALID_REQUEST, PARSE_ERROR, RpcError

SPACE = re.compile(rb"[ \t\r\n]*")
STRUCTURE = re.compile(rb'["\[\]{}]')
IN_STRING = re.compile(rb'["\\]')
WORD_END = re.compile(rb'[ \t\r\n"\[\]{},:]')

FIRST_OF_WORD = b"-0123456789tfn"
"""First bytes of a number, true, false and null."""


class Splitter:
    """Cuts a stream into the bytes of its values; it does not check that they are valid JSON.

    It looks at each byte once, and holds one value of `max_size` bytes and the bytes fed after it.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._buffer = bytearray()
        self._at = 0  # the first byte not looked at; one more if a backslash came last
        self._depth = 0
        self._in_string = False
        self.paused = False
        """True if the last call of next_value has not looked at all bytes: call it again."""

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._buffer += data

    def next_value(self, max_steps: int = sys.maxsize) -> bytes | None:
        """The next whole value; None if more bytes are needed.

        It looks at `max_steps` quotes, brackets and backslashes; None and `paused` if that was not
        enough.

        RpcError if the bytes cannot begin a value, or the value is too large: then nobody knows
        where the next one begins.
        """
        self.paused = False
        if self._at == 0 and not self._begin():
            return None
        end = self._find_end(max_steps)
        if (len(self._buffer) if end is None else end) > self._max_size:
            raise RpcError(INVALID_REQUEST, f"message of more than {self._max_size} bytes")
        return None if end is None else self._cut(end)

    def rest(self) -> bytes | None:
        """Take the rest at the end of the stream: a last number, or a value that was cut off."""
        return self._cut(len(self._buffer)) or None

    def _begin(self) -> bool:
        """Skip to the first byte of a value; false if there is none yet."""
        space = SPACE.match(self._buffer)
        assert space is not None
        del self._buffer[: space.end()]
        if not self._buffer:
            return False
        if self._buffer[0] not in b'{["' + FIRST_OF_WORD:
            raise RpcError(PARSE_ERROR, "parse error: no JSON value begins like this")
        return True

    def _find_end(self, max_steps: int) -> int | None:
        """The end of the value at the start of the buffer; None if it has not arrived."""
        if self._buffer[0] in FIRST_OF_WORD:
            found = WORD_END.search(self._buffer, self._at)
            self._at = len(self._buffer) if found is None else found.start()
            return None if found is None else self._at
        for _ in range(max_steps):
            pattern = IN_STRING if self._in_string else STRUCTURE
            found = pattern.search(self._buffer, self._at)
            if found is None:
                self._at = max(self._at, len(self._buffer))
                return None
            self._at = found.end()
            byte = found[0]
            if byte == b"\\":
                self._at += 1
            elif byte == b'"':
                self._in_string = not self._in_string
            else:
                self._depth += 1 if byte in b"[{" else -1
            if not self._depth and not self._in_string:
                return self._at
        self.paused = True
        return None

    def _cut(self, end: int) -> bytes:
        """Take the first bytes off the buffer."""
        value = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._at = 0
        return value
