"""Mutations of bytes; the same ones for the same source of randomness."""

import random
from collections.abc import Sequence

INTERESTING = (
    b"\x00", b"\x7f", b"\x80", b"\x81", b"\xb7", b"\xb8", b"\xbf", b"\xc0", b"\xc1", b"\xf7",
    b"\xf8", b"\xff", b"\xb8\x38", b"\xbb\xff\xff\xff\xff", b"\xbf" + b"\xff" * 8,
    b"\xff" + b"\x7f" * 8, b"\xff\xff\xff\xff\x0f", b"\x00\x00", b"\x80\x80\x80\x80\x10",
)  # fmt: skip
"""Bytes that begin lengths in RLP and snappy, at their edges."""

MAX_SIZE = 1 << 16


def mutate(seeds: Sequence[bytes], source: random.Random) -> bytes:
    """A seed with a few changes."""
    data = bytearray(source.choice(seeds))
    for _ in range(source.choice([1, 1, 2, 3, 5, 9])):
        at = source.randrange(len(data) + 1)
        kind = source.randrange(8)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << source.randrange(8)
        elif kind == 1:
            token = source.choice(INTERESTING)
            data[at : at + len(token)] = token
        elif kind == 2:
            data[at:at] = source.choice(INTERESTING)
        elif kind == 3:
            del data[at : at + source.choice([1, 2, 4, 16, 64])]
        elif kind == 4:
            data[at:at] = data[at : at + source.randrange(64)] * source.randrange(4)
        elif kind == 5:
            other = source.choice(seeds)
            start = source.randrange(len(other) + 1)
            data[at : at + source.randrange(64)] = other[start : start + source.randrange(64)]
        elif kind == 6:
            data[at : at + 8] = source.randbytes(source.randrange(9))
        else:
            del data[at:]
    return bytes(data[:MAX_SIZE])
