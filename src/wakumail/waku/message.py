"""Messages sealed into the data field of an envelope, and opened (7/WAKU-DATA).

    flags        1   bits 0-1: bytes of the payload's size, bit 2: signed
    size       0-3   of the payload, little-endian
    payload
    padding          up to a multiple of 256 bytes
    signature   65   R || S || V over the Keccak-256 of all before it, if signed

These bytes are encrypted: with AES-256-GCM, followed by a tag (16 bytes) and a nonce (12), or
with ECIES for the receiver's public key.
"""

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wakumail.base.keccak import keccak256
from wakumail.devp2p import ecies
from wakumail.devp2p.keys import SIGNATURE_SIZE, PrivateKey, PublicKey, Random, recover, sign
from wakumail.errors import EciesError, MessageError

SYMMETRIC_KEY_SIZE = 32
"""Bytes of a symmetric key."""

KEY_ROUNDS = 65356
"""Rounds of PBKDF2; not 65536, but every implementation has this number."""

DEFAULT_PASSWORD = "status-offline-inbox"
"""The password of the Status fleet's mailservers; another mailserver may have another."""

GCM_NONCE_SIZE = 12
"""Bytes of the AES-GCM nonce at the end of the data."""

GCM_TAG_SIZE = 16
"""Bytes of the AES-GCM tag before the nonce."""

PADDING_BLOCK = 256
"""Bytes: a message is padded to a multiple of it, by at least 1 byte, as Go does."""

MAX_PAYLOAD_SIZE = (1 << 24) - 1
"""Bytes of a payload: the size field has at most three bytes."""

SIZE_MASK = 0b011
SIGNED = 0b100


@dataclass(frozen=True, slots=True)
class Message:
    """An opened message."""

    payload: bytes
    padding: bytes
    signed: bytes
    """The bytes that the signature covers: all before it."""
    signature: bytes
    """SIGNATURE_SIZE bytes; empty if the message is not signed."""

    @property
    def signer(self) -> PublicKey | None:
        """The public key that signed it; None if it is not signed.

        MessageError when the signature is invalid. Computed on demand: it takes as long as opening
        a small message.
        """
        if not self.signature:
            return None
        try:
            return recover(self.signature, keccak256(self.signed))
        except ValueError as error:
            raise MessageError(f"no valid signature: {error}") from error


def symmetric_key(password: str) -> bytes:
    """The key for a password: PBKDF2-HMAC-SHA256 without a salt. Takes some 30 ms."""
    return hashlib.pbkdf2_hmac("sha256", password.encode(), b"", KEY_ROUNDS, SYMMETRIC_KEY_SIZE)


def checked_key(key: bytes) -> bytes:
    """Return a symmetric `key`; ValueError unless it has SYMMETRIC_KEY_SIZE bytes.

    The cipher itself takes shorter keys too, for AES-128 and AES-192.
    """
    if len(key) != SYMMETRIC_KEY_SIZE:
        raise ValueError(f"a symmetric key has {SYMMETRIC_KEY_SIZE} bytes, not {len(key)}")
    return key


def seal(
    payload: bytes,
    *,
    key: bytes | PublicKey,
    sign_with: PrivateKey | None = None,
    padding: bytes | None = None,
    random: Random,
) -> bytes:
    """The data field for `payload`, sealed with a symmetric key or for a public key.

    The padding is random, up to a multiple of PADDING_BLOCK, or it is `padding`, of any size.
    ValueError for a payload over MAX_PAYLOAD_SIZE, or a symmetric key of another size.
    """
    if len(payload) > MAX_PAYLOAD_SIZE:
        raise ValueError(f"a payload of {len(payload)} bytes is over {MAX_PAYLOAD_SIZE}")
    width = max(1, (len(payload).bit_length() + 7) // 8)
    flags = width | (SIGNED if sign_with else 0)
    plain = bytes([flags]) + len(payload).to_bytes(width, "little") + payload
    if padding is None:
        taken = len(plain) + (SIGNATURE_SIZE if sign_with else 0)
        padding = random(PADDING_BLOCK - taken % PADDING_BLOCK)
    plain += padding
    if sign_with is not None:
        plain += sign(sign_with, keccak256(plain))
    if isinstance(key, PublicKey):
        return ecies.encrypt(key, plain, random)
    return _encrypt(checked_key(key), plain, random(GCM_NONCE_SIZE))


def open_message(data: bytes, key: bytes | PrivateKey) -> Message:
    """The message in a data field; MessageError when `key` does not open it, or it is malformed."""
    if isinstance(key, PrivateKey):
        try:
            return _parse(ecies.decrypt(key, data))
        except EciesError as error:
            raise MessageError(str(error)) from error
    return _parse(_decrypt(checked_key(key), data))


def _encrypt(key: bytes, plain: bytes, nonce: bytes) -> bytes:
    return AESGCM(key).encrypt(nonce, plain, None) + nonce


def _decrypt(key: bytes, data: bytes) -> bytes:
    if len(data) < GCM_TAG_SIZE + GCM_NONCE_SIZE:
        raise MessageError(f"{len(data)} bytes are too few")
    try:
        return AESGCM(key).decrypt(data[-GCM_NONCE_SIZE:], data[:-GCM_NONCE_SIZE], None)
    except InvalidTag:
        raise MessageError("the tag does not fit the message") from None


def _parse(plain: bytes) -> Message:
    if not plain:
        raise MessageError("an empty message")
    width = plain[0] & SIZE_MASK
    end = len(plain) - (SIGNATURE_SIZE if plain[0] & SIGNED else 0)
    start = 1 + width
    stop = start + int.from_bytes(plain[1:start], "little")
    if stop > end:
        raise MessageError("a message shorter than it says")
    return Message(plain[start:stop], plain[stop:end], plain[:end], plain[end:])
