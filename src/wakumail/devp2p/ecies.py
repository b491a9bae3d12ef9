"""ECIES as in RLPx ("ECIES Encryption"), for handshake packets and asymmetric envelopes.

The parts of a message, with their sizes in bytes:

    04 || X || Y  65   the sender's ephemeral public key
    iv            16
    ciphertext     n   AES-128-CTR
    tag           32   HMAC-SHA256 over iv || ciphertext || auth data
"""

import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from wakumail.devp2p.keys import PrivateKey, PublicKey, Random, generate, shared_x
from wakumail.errors import EciesError

POINT_SIZE = 65
"""Bytes of an uncompressed public key."""

IV_SIZE = 16
"""Bytes of the initial AES counter."""

HMAC_SIZE = 32
"""Bytes of the HMAC."""

OVERHEAD = POINT_SIZE + IV_SIZE + HMAC_SIZE
"""Bytes that encryption adds to a message."""


def encrypt(public: PublicKey, message: bytes, random: Random, auth_data: bytes = b"") -> bytes:
    """Encrypt `message` for the holder of `public`; the result is OVERHEAD bytes longer.

    `auth_data` is covered by the tag but not part of the result: the receiver must know it.
    """
    ephemeral = generate(random)
    iv = random(IV_SIZE)
    cipher_key, tag_key = _derive(shared_x(ephemeral, public))
    ciphertext = _crypt(cipher_key, iv, message)
    tag = _tag(tag_key, iv + ciphertext + auth_data)
    return ephemeral.public_key.format(compressed=False) + iv + ciphertext + tag


def decrypt(private: PrivateKey, data: bytes, auth_data: bytes = b"") -> bytes:
    """The message in `data`; EciesError when it is not for this key, or was changed."""
    if len(data) < OVERHEAD or data[0] != 0x04:
        raise EciesError("not an ECIES message")
    try:
        public = PublicKey(data[:POINT_SIZE])
    except ValueError:
        raise EciesError("the ephemeral key is no point of the curve") from None
    cipher_key, tag_key = _derive(shared_x(private, public))
    encrypted, tag = data[POINT_SIZE:-HMAC_SIZE], data[-HMAC_SIZE:]
    if not hmac.compare_digest(_tag(tag_key, encrypted + auth_data), tag):
        raise EciesError("the tag does not fit the message")
    return _crypt(cipher_key, encrypted[:IV_SIZE], encrypted[IV_SIZE:])


def _derive(secret: bytes) -> tuple[bytes, bytes]:
    """The keys of the cipher and of the tag: one block of the NIST SP 800-56 KDF over SHA-256."""
    block = hashlib.sha256(b"\x00\x00\x00\x01" + secret).digest()
    return block[:16], hashlib.sha256(block[16:]).digest()


def _crypt(key: bytes, iv: bytes, data: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor().update(data)


def _tag(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")
