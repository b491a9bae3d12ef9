"""Reads the frames of a server without decrypting all of them: that leaves the CPU to the server.

Of each frame only the header is decrypted, which has its size, and the first block, which has the
code of the packet and the size to which it inflates. Nothing is authenticated.
"""

from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB

AES_BLOCK = 16
HEADER_SIZE = 2 * AES_BLOCK
"""Bytes of the header of a frame and its MAC."""

INITIAL_BUFFER = 4096
"""Bytes of the buffer at first. It grows with the frames."""


class Frame(NamedTuple):
    """A frame. `raw` is valid until the skimmer is used again."""

    first: bytes
    """The first 16 bytes of its data, decrypted; all of them if there are fewer."""
    size: int
    """Bytes of its data."""
    raw: memoryview
    """Header and data, encrypted, with padding and both MACs."""
    block: int
    """The number of its first block of data in the AES stream of the connection."""


class Skimmer:
    """One direction of a connection, from its first frame on.

    Fill `get_buffer` and call `received`. `aes`: the key of the connection (handshake.Secrets).
    """

    def __init__(self, aes: bytes) -> None:
        self._cipher = Cipher(AES256(aes), ECB()).encryptor()
        self._buffer = memoryview(bytearray(INITIAL_BUFFER))
        self._filled = 0
        self._wanted = HEADER_SIZE
        self._size = 0
        self._blocks = 0

    def get_buffer(self) -> memoryview:
        """The buffer for the next bytes. It ends where the header or the frame ends."""
        return self._buffer[self._filled : self._wanted]

    def received(self, count: int) -> Frame | None:
        """Take `count` bytes. Returns the frame that they complete. ConnectionError if 0."""
        if not count:
            raise ConnectionError("the server hung up")
        self._filled += count
        if self._filled < self._wanted:
            return None
        if self._wanted == HEADER_SIZE:
            self._read_header()
            return None
        raw, block = self._buffer[: self._filled], self._blocks + 1
        self._blocks = block + (self._wanted - HEADER_SIZE) // AES_BLOCK - 1
        first = self._decrypt(raw[HEADER_SIZE : HEADER_SIZE + AES_BLOCK], block)[: self._size]
        self._filled, self._wanted = 0, HEADER_SIZE
        return Frame(first, self._size, raw, block)

    def data(self, frame: Frame) -> bytes:
        """All data of the latest frame, decrypted."""
        padded = -(-frame.size // AES_BLOCK) * AES_BLOCK
        return self._decrypt(frame.raw[HEADER_SIZE : HEADER_SIZE + padded], frame.block)[
            : frame.size
        ]

    def _read_header(self) -> None:
        header = self._decrypt(self._buffer[:AES_BLOCK], self._blocks)
        self._size = int.from_bytes(header[:3], "big")
        self._wanted = HEADER_SIZE + -(-self._size // AES_BLOCK) * AES_BLOCK + AES_BLOCK
        if self._wanted > len(self._buffer):
            get_buffer = memoryview(bytearray(2 * self._wanted))
            get_buffer[:HEADER_SIZE] = self._buffer[:HEADER_SIZE]
            self._buffer = get_buffer

    def _decrypt(self, data: memoryview, block: int) -> bytes:
        """Decrypt with AES in counter mode, from this block of the stream on."""
        counters = range(block, block + len(data) // AES_BLOCK)
        stream = self._cipher.update(b"".join(n.to_bytes(AES_BLOCK, "big") for n in counters))
        plain = int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")
        return plain.to_bytes(len(data), "big")
