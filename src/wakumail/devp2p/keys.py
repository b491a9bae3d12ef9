"""secp256k1 keys: node keys, node ids, key agreement and signatures (RLPx, "Node Identity").

A node id is the public key as X || Y, 64 bytes, without the leading 04 of the SEC encoding.
"""

import re
from collections.abc import Callable
from typing import Any, TypeAlias

import coincurve
from coincurve._libsecp256k1 import ffi, lib
from coincurve.context import GLOBAL_CONTEXT, Context

__all__ = [
    "NODE_ID_SIZE",
    "SECRET_SIZE",
    "SIGNATURE_SIZE",
    "PrivateKey",
    "PublicKey",
    "Random",
    "generate",
    "node_id",
    "parse_node_key",
    "private_key",
    "public_key",
    "recover",
    "shared_x",
    "sign",
    "verify",
]

Random: TypeAlias = Callable[[int], bytes]
"""Returns the given number of random bytes; `os.urandom` outside of tests."""

SECRET_SIZE = 32
"""Bytes of a private key."""

NODE_ID_SIZE = 64
"""Bytes of a node id."""

SIGNATURE_SIZE = 65
"""Bytes of a recoverable signature: R || S || V."""

DIGEST_SIZE = 32
"""Bytes of a hash that is signed."""


class PublicKey(coincurve.PublicKey):
    """A point of the curve. It equals keys with the same point, and nothing else.

    coincurve's own comparison raises AttributeError for what is no key, such as the signer None of
    a message that is not signed.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, coincurve.PublicKey) and super().__eq__(other)

    __hash__ = coincurve.PublicKey.__hash__


class PrivateKey(coincurve.PrivateKey):
    """A secret of 32 bytes, by default a new one, and its `public_key`.

    ValueError for a secret that is no key.
    """

    public_key: PublicKey

    def __init__(self, secret: bytes | None = None, context: Context = GLOBAL_CONTEXT) -> None:
        super().__init__(secret, context)
        self.public_key = PublicKey(self.public_key.public_key, context)

    @classmethod
    def from_hex(cls, hexed: str, context: Context = GLOBAL_CONTEXT) -> "PrivateKey":
        """The private key in 64 hexadecimal digits."""
        return cls(super().from_hex(hexed, context).secret, context)

    @classmethod
    def from_int(cls, num: int, context: Context = GLOBAL_CONTEXT) -> "PrivateKey":
        """The private key that is this number."""
        return cls(super().from_int(num, context).secret, context)

    @classmethod
    def from_pem(cls, pem: bytes, context: Context = GLOBAL_CONTEXT) -> "PrivateKey":
        """The private key in PEM."""
        return cls(super().from_pem(pem, context).secret, context)

    @classmethod
    def from_der(cls, der: bytes, context: Context = GLOBAL_CONTEXT) -> "PrivateKey":
        """The private key in DER."""
        return cls(super().from_der(der, context).secret, context)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, coincurve.PrivateKey) and super().__eq__(other)

    __hash__ = coincurve.PrivateKey.__hash__


def private_key(secret: bytes) -> PrivateKey:
    """The private key of 32 bytes; ValueError for 0, and for the group's order or more."""
    if len(secret) != SECRET_SIZE:
        raise ValueError(f"a private key has {SECRET_SIZE} bytes, not {len(secret)}")
    return PrivateKey(secret)


def generate(random: Random) -> PrivateKey:
    """A new private key. Once in 2^127 times the bytes are no key, which is a ValueError."""
    return private_key(random(SECRET_SIZE))


def node_id(public: PublicKey) -> bytes:
    """The node id of a public key, 64 bytes."""
    return public.format(compressed=False)[1:]


def public_key(identity: bytes) -> PublicKey:
    """The public key of a node id; ValueError when it is not 64 bytes or no point of the curve."""
    if len(identity) != NODE_ID_SIZE:
        raise ValueError(f"a node id has {NODE_ID_SIZE} bytes, not {len(identity)}")
    try:
        return PublicKey(b"\x04" + identity)
    except ValueError:
        raise ValueError(f"the node id {identity.hex()[:16]}… is no public key") from None


def _copy_x(output: Any, x: Any, _y: Any, _data: Any) -> int:
    ffi.memmove(output, x, SECRET_SIZE)
    return 1


_COPY_X = ffi.callback(
    "int(unsigned char *, const unsigned char *, const unsigned char *, void *)", _copy_x
)


def shared_x(private: PrivateKey, public: PublicKey) -> bytes:
    """The x coordinate of private * public, 32 bytes (RLPx, `ecdh.agree`).

    RLPx uses x itself, but `PrivateKey.ecdh` hashes it. `PublicKey.multiply` also gives x, but its
    time depends on the private key, and any stranger may choose the point that our node key is
    multiplied with. So this is libsecp256k1's constant-time ECDH with a hash function that returns
    x as it is. It takes 41 us, `multiply` 35 us.
    """
    x = ffi.new("unsigned char[32]")
    if not lib.secp256k1_ecdh(
        GLOBAL_CONTEXT.ctx, x, public.public_key, private.secret, _COPY_X, ffi.NULL
    ):
        raise ValueError("no shared secret")
    return bytes(ffi.buffer(x))


def sign(private: PrivateKey, digest: bytes) -> bytes:
    """The recoverable signature R || S || V over a 32-byte hash; V is 0 or 1."""
    return private.sign_recoverable(digest, hasher=None)


def verify(public: PublicKey, signature: bytes, digest: bytes) -> bool:
    """True if R || S, 64 bytes, is the key's signature over a 32-byte hash.

    The second of the two signatures that anybody can make of one, that with the greater S, is none.
    """
    parsed = ffi.new("secp256k1_ecdsa_signature *")
    context = GLOBAL_CONTEXT.ctx
    if len(signature) != SIGNATURE_SIZE - 1 or len(digest) != DIGEST_SIZE:
        return False
    if not lib.secp256k1_ecdsa_signature_parse_compact(context, parsed, signature):
        return False
    return bool(lib.secp256k1_ecdsa_verify(context, parsed, digest, public.public_key))


def recover(signature: bytes, digest: bytes) -> PublicKey:
    """The key that signed a 32-byte hash; V is 0 or 1, or 27 or 28 as some wallets write it.

    ValueError when it is no signature, or no key can have made it.
    """
    if len(signature) != SIGNATURE_SIZE:
        raise ValueError(f"a signature has {SIGNATURE_SIZE} bytes, not {len(signature)}")
    parity = signature[-1] - 27 if signature[-1] in (27, 28) else signature[-1]
    if parity not in (0, 1):
        raise ValueError(f"a signature cannot end in {signature[-1]}")
    signer = PublicKey.from_signature_and_message(
        signature[:-1] + bytes([parity]), digest, hasher=None
    )
    return PublicKey(signer.public_key)


def parse_node_key(text: str) -> PrivateKey:
    """The private key in 64 hexadecimal digits; the text of a ValueError does not show them."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise ValueError("a node key is 64 hexadecimal digits")
    try:
        return private_key(bytes.fromhex(text))
    except ValueError:
        raise ValueError("these 64 hexadecimal digits are no private key") from None
