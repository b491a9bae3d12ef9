"""Node records: what a node says of itself, signed (EIP-778).

    record = [signature 64, seq, key, value, key, value, ...]      an RLP list of 300 bytes at most
    text   = "enr:" and the record in URL-safe base64 without padding

The keys are sorted and unique. The signature is over keccak256([seq, key, value, ...]).
"""

import base64
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from wakumail.base.keccak import keccak256
from wakumail.base.rlp import as_bytes, as_int, as_list, decode, encode, join_list, split_list
from wakumail.devp2p.addresses import Address, is_dialable, plain, reach
from wakumail.devp2p.keys import PrivateKey, PublicKey, node_id, sign, verify
from wakumail.errors import RlpError, WakumailError

MAX_RECORD = 300
"""Bytes of a record."""

PREFIX = "enr:"

MAX_TEXT = len(PREFIX) + 4 * MAX_RECORD // 3
"""Characters of the longest record."""

SCHEME = b"v4"
"""The only identity scheme: secp256k1 and Keccak."""

SIGNATURE_SIZE = 64
"""Bytes of a record's signature: R || S."""

Value: TypeAlias = bytes | int | Sequence["Value"]

_TEXT = re.compile(r"enr:([A-Za-z0-9_-]+)")


class EnrError(WakumailError, ValueError):
    """Something that is no node record (EIP-778)."""

    counter = "enr_malformed"


class EnrTooLarge(EnrError):
    """A node record of more than 300 bytes."""

    counter = "enr_too_large"


class EnrUnsorted(EnrError):
    """A node record whose keys are not sorted."""

    counter = "enr_unsorted"


class EnrKeyDoubled(EnrError):
    """A node record that has a key twice."""

    counter = "enr_key_doubled"


class EnrSchemeUnknown(EnrError):
    """A node record of an identity scheme other than v4."""

    counter = "enr_scheme_unknown"


class EnrForged(EnrError):
    """A node record that its own key has not signed."""

    counter = "enr_forged"


@dataclass(frozen=True, slots=True)
class Enr:
    """A node record whose signature holds.

    Two records are equal if their bytes are.
    """

    encoded: bytes
    """The record as RLP."""
    seq: int
    """Rises with each change of the record, 64 bits."""
    node_id: bytes
    """The public key of the node, 64 bytes."""
    values: Mapping[bytes, bytes]
    """The RLP of each value by its key. Those of other keys than ours are not looked into."""

    @classmethod
    def make(cls, key: PrivateKey, seq: int, values: Mapping[bytes, Value]) -> "Enr":
        """A record that `key` signs; `values` has neither `id` nor `secp256k1`.

        EnrTooLarge if it gets too long.
        """
        content = [encode(seq)]
        for name, value in sorted(signed_values(key, values).items()):
            content += (encode(name), value)
        signature = sign(key, keccak256(join_list(content)))[:SIGNATURE_SIZE]
        return cls.decode(join_list([encode(signature), *content]))

    @classmethod
    def decode(cls, encoded: bytes) -> "Enr":
        """Read and verify a record in RLP; an EnrError tells the fault.

        The signature, which costs most, is checked last.
        """
        if len(encoded) > MAX_RECORD:
            raise EnrTooLarge(f"a node record has at most {MAX_RECORD} bytes")
        try:
            signature, content, seq, values = _split(encoded)
        except RlpError as error:
            raise EnrError(f"it is no node record: {error}") from None
        if values.get(b"id") != encode(SCHEME):
            raise EnrSchemeUnknown("the node record is not of the identity scheme v4")
        try:
            public = PublicKey(as_bytes(decode(values.get(b"secp256k1", b"\x80")), 33))
        except ValueError:  # an RlpError is one
            raise EnrError("the node record has no public key") from None
        if not verify(public, signature, keccak256(join_list(content))):
            raise EnrForged("the signature of the node record is wrong")
        return cls(bytes(encoded), seq, node_id(public), values)

    @classmethod
    def parse(cls, text: str) -> "Enr":
        """Read and verify a record in its text form; an EnrError tells the fault."""
        if len(text) > MAX_TEXT:
            raise EnrTooLarge(f"a node record has at most {MAX_TEXT} characters")
        found = _TEXT.fullmatch(text)
        if found is None:
            raise EnrError("a node record looks like enr:<URL-safe base64 without padding>")
        digits = found[1]
        try:
            encoded = base64.urlsafe_b64decode(digits + "=" * (-len(digits) % 4))
        except ValueError:
            encoded = b""
        if _to_base64(encoded) != digits:  # one record has one text
            raise EnrError("the base64 of the node record is cut short or not canonical")
        return cls.decode(encoded)

    def __str__(self) -> str:
        return f"{PREFIX}{_to_base64(self.encoded)}"

    # -- what the keys say; a value of a wrong shape counts as missing --------------------------

    @property
    def ip(self) -> Address | None:
        """The address to reach the node at; None if it tells none.

        With both kinds it is the one that more hosts can reach, the IPv4 address if both are
        alike. An address that nobody can dial is none.
        """
        return self._place[0]

    @property
    def tcp(self) -> int:
        """The TCP port at `ip`, 0 for none."""
        return self._port(b"tcp")

    @property
    def udp(self) -> int:
        """The UDP port at `ip`, 0 for none."""
        return self._port(b"udp")

    @property
    def speaks_waku(self) -> bool:
        """True if the record has the key `waku` with a version."""
        return self._waku is not None

    @property
    def is_mailserver(self) -> bool:
        """True if the record says that the node answers requests for history."""
        return self._waku == 1

    @property
    def _waku(self) -> int | None:
        """The flags behind the version in `waku`; None without the key. More items may follow."""
        try:
            version, flags, *_ = as_list(decode(self.values[b"waku"]), at_least=2)
            as_int(version)
            return as_int(flags) & 1
        except (KeyError, RlpError):
            return None

    @property
    def _place(self) -> tuple[Address | None, bytes]:
        """`ip`, and what follows the names of its ports: `6` for an address of the key `ip6`."""
        told = (self._ip(b"ip", 4), b""), (self._ip(b"ip6", 16), b"6")
        found = [(ip, suffix) for ip, suffix in told if ip is not None]
        return max(found, key=lambda each: reach(each[0]), default=(None, b""))

    def _ip(self, name: bytes, size: int) -> Address | None:
        try:
            address = ipaddress.ip_address(as_bytes(decode(self.values[name]), size))
        except (KeyError, RlpError):
            return None
        return plain(address) if is_dialable(plain(address)) else None

    def _port(self, name: bytes) -> int:
        for each in dict.fromkeys((name + self._place[1], name)):
            try:
                return as_int(decode(self.values[each]), 16)
            except (KeyError, RlpError):
                continue
        return 0


def signed_values(key: PrivateKey, values: Mapping[bytes, Value]) -> dict[bytes, bytes]:
    """The RLP of each value in a record that `key` signs, by its key in the record."""
    own = {b"id": SCHEME, b"secp256k1": key.public_key.format()}
    return {name: encode(value) for name, value in {**values, **own}.items()}


def _split(encoded: bytes) -> tuple[bytes, list[bytes], int, dict[bytes, bytes]]:
    """The signature, what is signed, the sequence number and the values; RlpError or EnrError."""
    signature, *content = split_list(encoded, max_items=MAX_RECORD) or [b""]
    if len(content) % 2 == 0:
        raise EnrError("a node record is a signature, a number, and pairs of keys and values")
    seq = as_int(decode(content[0]))
    names = [as_bytes(decode(name)) for name in content[1::2]]
    for before, name in pairwise(names):
        if before == name:
            raise EnrKeyDoubled(f"the node record has the key {name!r} twice")
        if before > name:
            raise EnrUnsorted("the keys of the node record are not sorted")
    values = dict(zip(names, content[2::2], strict=True))
    return as_bytes(decode(signature), SIGNATURE_SIZE), content, seq, values


def _to_base64(encoded: bytes) -> str:
    return base64.urlsafe_b64encode(encoded).decode().rstrip("=")
