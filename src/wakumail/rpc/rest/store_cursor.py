"""Cursors of the store: 32 bytes, like the hash of a message, that tell a place in the archive.

    created     4   Unix seconds, big-endian
    hash       16   the first bytes of an envelope's hash
    check      12   the first bytes of the SHA-256 of CONTEXT and the bytes before

In nwaku a cursor is the hash of the last message on the page. The archive has no index by that
hash, so ours tells the place itself; it outlives restarts, and the envelope that it names. The
check tells it from the hash of a message, which a client may give too.
"""

from hashlib import sha256

from wakumail.archive.archive import POSITION_SIZE

CONTEXT = b"wakumail store cursor"
PLACE_SIZE = 20
"""Bytes of a position by which the archive orders: creation time, and 16 of the hash."""

CURSOR_SIZE = 32


def make_cursor(position: bytes) -> bytes:
    """The cursor for a position of the archive (36 bytes, of which it orders by the first 20)."""
    place = position[:PLACE_SIZE]
    return place + _check(place)


def read_cursor(cursor: bytes) -> bytes | None:
    """The position that a cursor tells; None if it is another hash."""
    place = cursor[:PLACE_SIZE]
    return place.ljust(POSITION_SIZE, b"\0") if cursor == place + _check(place) else None


def _check(place: bytes) -> bytes:
    return sha256(CONTEXT + place).digest()[: CURSOR_SIZE - PLACE_SIZE]
