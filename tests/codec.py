"""Both directions of one end of a connection, and another codec that is made of pycryptodome."""

from typing import Self

from Crypto.Cipher import AES
from Crypto.Hash import keccak

from wakumail.frame import MAX_FRAME, FrameReader
from wakumail.seal import FrameWriter

BLOCK = 16  # bytes


def xor(left: bytes, right: bytes) -> bytes:
    """Bytewise exclusive or."""
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


class OracleSender:
    """One direction as the specification words it."""

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
    """A reader with a writer beside it; arguments as handshake.Secrets has them."""

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
        return self.writer.seal()
