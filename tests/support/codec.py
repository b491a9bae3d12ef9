"""Both directions of one end of a connection, and an independent codec (pycryptodome)."""

import itertools
from collections.abc import Iterable
from typing import Self

from Crypto.Cipher import AES
from Crypto.Hash import keccak

from wakumail.devp2p.frame_reader import MAX_FRAME, FrameReader
from wakumail.devp2p.frame_writer import FrameWriter

BLOCK = 16  # bytes


def xor(left: bytes, right: bytes) -> bytes:
    """Bytewise exclusive or."""
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


class OracleSender:
    """One direction of frames, written after the specification."""

    def __init__(self, aes: bytes, mac: bytes, seed: bytes) -> None:
        self.cipher = AES.new(aes, AES.MODE_CTR, nonce=b"", initial_value=0)
        self.mac_cipher = AES.new(mac, AES.MODE_ECB)
        self.mac = keccak.new(digest_bits=256, data=seed, update_after_digest=True)

    def _digest(self) -> bytes:
        digest: bytes = self.mac.digest()
        return digest[:BLOCK]

    def _stir(self, block: bytes) -> bytes:
        self.mac.update(xor(self.mac_cipher.encrypt(self._digest()), block))
        return self._digest()

    def header(self, size: int, header_data: bytes = b"\xc2\x80\x80") -> bytes:
        """The header of a frame of `size` bytes, and its MAC."""
        plain = (size.to_bytes(3, "big") + header_data).ljust(BLOCK, b"\0")
        header: bytes = self.cipher.encrypt(plain)
        return header + self._stir(header)

    def encode(self, data: bytes, padding: bytes = b"\0") -> bytes:
        """One frame."""
        header = self.header(len(data))
        body = self.cipher.encrypt(data + padding * (-len(data) % BLOCK))
        self.mac.update(body)
        return bytes(header + body + self._stir(self._digest()))


class FrameCodec(FrameReader):
    """A reader and a writer; the arguments are those of handshake.Secrets."""

    writer: FrameWriter

    def __new__(
        cls, aes: bytes, mac: bytes, egress: bytes, ingress: bytes, *, max_frame: int = MAX_FRAME
    ) -> Self:
        self = FrameReader.__new__(cls, aes, mac, ingress, max_frame=max_frame)
        self.writer = FrameWriter(aes, mac, egress)
        return self

    def encode(self, data: bytes, prefix: bytes = b"") -> bytes:
        """One frame."""
        self.writer.add(data, prefix)
        return self.writer.encrypt()


AES_KEY = bytes(range(32))
MAC_KEY = bytes(range(100, 132))
LEFT_SEED = b"what the left side absorbs first" * 9
RIGHT_SEED = b"and the right side"


def left(max_frame: int = MAX_FRAME) -> FrameCodec:
    """One end of a connection."""
    return FrameCodec(AES_KEY, MAC_KEY, LEFT_SEED, RIGHT_SEED, max_frame=max_frame)


def right() -> FrameCodec:
    """The other end, opposite to left()."""
    return FrameCodec(AES_KEY, MAC_KEY, RIGHT_SEED, LEFT_SEED)


def chunks(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """`data` in pieces, cut at these places (modulo its length)."""
    edges = [0, *sorted(cut % len(data) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]
