"""The datagrams of node discovery, read and written (discv4, "Wire Protocol").

    datagram  = hash 32 | signature 65 | type 1 | RLP list      1280 bytes at most
    hash      = keccak256(signature | type | list)
    signature = R | S | V over keccak256(type | list)

Items that follow those of a list, and bytes that follow the list, are ignored (EIP-8).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, NamedTuple, TypeAlias

from wakumail.base.keccak import keccak256
from wakumail.base.rlp import Item, as_bytes, as_int, as_list, decode, decode_prefix, encode
from wakumail.devp2p.discovery.udp_endpoint import UdpEndpoint
from wakumail.devp2p.enr import Enr, EnrError
from wakumail.devp2p.keys import (
    DIGEST_SIZE,
    NODE_ID_SIZE,
    SIGNATURE_SIZE,
    PrivateKey,
    node_id,
    recover,
    sign,
)
from wakumail.errors import RlpError, WakumailError

MAX_DATAGRAM = 1280
"""Bytes of a datagram."""

MIN_DATAGRAM = DIGEST_SIZE + SIGNATURE_SIZE + 1 + 1
"""Bytes of a datagram with an empty list."""

MAX_NEIGHBORS = 12
"""Nodes in one datagram: those with IPv6 addresses have 94 bytes each."""

DISCV4_VERSION = 4
"""The version in our pings. Any other is taken too (EIP-8)."""

_MAX_DEPTH = 16
"""Lists in lists that are read; ours have two."""

_TYPE_AT = DIGEST_SIZE + SIGNATURE_SIZE


Field: TypeAlias = "bytes | int | Sequence[Field]"


class DatagramType(IntEnum):
    """The type byte of a datagram."""

    PING = 1
    PONG = 2
    FINDNODE = 3
    NEIGHBORS = 4
    ENR_REQUEST = 5
    ENR_RESPONSE = 6


_ANSWERS = {DatagramType.PONG, DatagramType.NEIGHBORS, DatagramType.ENR_RESPONSE}


def is_answer(raw: bytes) -> bool:
    """True if a datagram that was not looked at yet says that it is an answer."""
    return len(raw) > _TYPE_AT and raw[_TYPE_AT] in _ANSWERS


class DatagramError(WakumailError):
    """A datagram of discovery whose list is malformed."""

    counter = "discovery_malformed"


class DatagramSize(DatagramError):
    """A datagram of less than 99 or more than 1280 bytes."""

    counter = "discovery_size"


class DatagramHash(DatagramError):
    """A datagram whose hash is wrong: it may be of another protocol, or damaged."""

    counter = "discovery_hash"


class DatagramTypeUnknown(DatagramError):
    """A datagram of a type that discovery v4 does not have."""

    counter = "discovery_type_unknown"


class DatagramForged(DatagramError):
    """A datagram whose signature no key can have made."""

    counter = "discovery_forged"


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for a pong, and tells where the sender believes itself and us to be."""

    version: int
    sender: UdpEndpoint
    recipient: UdpEndpoint
    expiration: int
    enr_seq: int | None
    type: ClassVar[DatagramType] = DatagramType.PING
    received: ClassVar[str] = "discovery_pings_received"
    sent: ClassVar[str] = "discovery_pings_sent"

    def fields(self) -> list[Field]:
        """The items of the list."""
        items: list[Field] = [
            self.version,
            self.sender.fields(),
            self.recipient.fields(),
            self.expiration,
        ]
        return items if self.enr_seq is None else [*items, self.enr_seq]

    @classmethod
    def read(cls, items: list[Item]) -> "Ping":
        """Read the items."""
        version, sender, recipient, expiration, *more = as_list(items, at_least=4)
        return cls(
            as_int(version),
            UdpEndpoint.read(sender),
            UdpEndpoint.read(recipient),
            as_int(expiration),
            _sequence(more),
        )


@dataclass(frozen=True, slots=True)
class Pong:
    """Answers a ping; `recipient` is the address that the ping came from."""

    recipient: UdpEndpoint
    ping_hash: bytes
    expiration: int
    enr_seq: int | None
    type: ClassVar[DatagramType] = DatagramType.PONG
    received: ClassVar[str] = "discovery_pongs_received"
    sent: ClassVar[str] = "discovery_pongs_sent"

    def fields(self) -> list[Field]:
        """The items of the list."""
        items: list[Field] = [self.recipient.fields(), self.ping_hash, self.expiration]
        return items if self.enr_seq is None else [*items, self.enr_seq]

    @classmethod
    def read(cls, items: list[Item]) -> "Pong":
        """Read the items."""
        recipient, ping_hash, expiration, *more = as_list(items, at_least=3)
        return cls(
            UdpEndpoint.read(recipient),
            as_bytes(ping_hash, DIGEST_SIZE),
            as_int(expiration),
            _sequence(more),
        )


@dataclass(frozen=True, slots=True)
class FindNode:
    """Asks for the nodes closest to a node id."""

    target: bytes
    expiration: int
    type: ClassVar[DatagramType] = DatagramType.FINDNODE
    received: ClassVar[str] = "discovery_findnodes_received"
    sent: ClassVar[str] = "discovery_findnodes_sent"

    def fields(self) -> list[Field]:
        """The items of the list."""
        return [self.target, self.expiration]

    @classmethod
    def read(cls, items: list[Item]) -> "FindNode":
        """Read the items."""
        target, expiration, *_ = as_list(items, at_least=2)
        return cls(as_bytes(target, NODE_ID_SIZE), as_int(expiration))


class Told(NamedTuple):
    """A node that a neighbors packet tells of."""

    endpoint: UdpEndpoint
    node_id: bytes


@dataclass(frozen=True, slots=True)
class Neighbors:
    """Answers a findnode, with others of its kind; `nodes` are MAX_NEIGHBORS at most."""

    nodes: tuple[Told, ...]
    expiration: int
    type: ClassVar[DatagramType] = DatagramType.NEIGHBORS
    received: ClassVar[str] = "discovery_neighbors_received"
    sent: ClassVar[str] = "discovery_neighbors_sent"

    def fields(self) -> list[Field]:
        """The items of the list."""
        nodes = [[*told.endpoint.fields(), told.node_id] for told in self.nodes]
        return [nodes, self.expiration]

    @classmethod
    def read(cls, items: list[Item]) -> "Neighbors":
        """Read the items."""
        nodes, expiration, *_ = as_list(items, at_least=2)
        return cls(tuple(map(_told, as_list(nodes))), as_int(expiration))


@dataclass(frozen=True, slots=True)
class EnrRequest:
    """Asks for the record of a node (EIP-868)."""

    expiration: int
    type: ClassVar[DatagramType] = DatagramType.ENR_REQUEST
    received: ClassVar[str] = "discovery_enr_requests_received"
    sent: ClassVar[str] = "discovery_enr_requests_sent"

    def fields(self) -> list[Field]:
        """The items of the list."""
        return [self.expiration]

    @classmethod
    def read(cls, items: list[Item]) -> "EnrRequest":
        """Read the items."""
        expiration, *_ = as_list(items, at_least=1)
        return cls(as_int(expiration))


@dataclass(frozen=True, slots=True)
class EnrResponse:
    """Answers a request for a record; `record` is its RLP, which is not verified yet."""

    request_hash: bytes
    record: bytes
    type: ClassVar[DatagramType] = DatagramType.ENR_RESPONSE
    received: ClassVar[str] = "discovery_enr_responses_received"
    sent: ClassVar[str] = "discovery_enr_responses_sent"
    expiration: ClassVar[None] = None

    def fields(self) -> list[Field]:
        """The items of the list."""
        return [self.request_hash, decode(self.record)]

    @classmethod
    def read(cls, items: list[Item]) -> "EnrResponse":
        """Read the items."""
        request_hash, record, *_ = as_list(items, at_least=2)
        return cls(as_bytes(request_hash, DIGEST_SIZE), encode(as_list(record)))

    def verified(self, sender: bytes) -> Enr:
        """The record; EnrError if it is none, or not of the node id `sender`."""
        record = Enr.decode(self.record)
        if record.node_id != sender:
            raise EnrError("the record is of another node")
        return record


Body: TypeAlias = Ping | Pong | FindNode | Neighbors | EnrRequest | EnrResponse

_READERS: Mapping[int, Callable[[list[Item]], Body]] = {
    DatagramType.PING: Ping.read,
    DatagramType.PONG: Pong.read,
    DatagramType.FINDNODE: FindNode.read,
    DatagramType.NEIGHBORS: Neighbors.read,
    DatagramType.ENR_REQUEST: EnrRequest.read,
    DatagramType.ENR_RESPONSE: EnrResponse.read,
}


class Datagram(NamedTuple):
    """A datagram whose signature has not been looked at yet."""

    hash: bytes
    body: Body
    raw: bytes

    @classmethod
    def read(cls, raw: bytes) -> "Datagram":
        """Read a datagram; a DatagramError tells the fault. Cheap checks come first."""
        if not MIN_DATAGRAM <= len(raw) <= MAX_DATAGRAM:
            raise DatagramSize(f"a datagram of {len(raw)} bytes")
        digest = raw[:DIGEST_SIZE]
        if keccak256(memoryview(raw)[DIGEST_SIZE:]) != digest:
            raise DatagramHash("the hash of the datagram is wrong")
        reader = _READERS.get(raw[_TYPE_AT])
        if reader is None:
            raise DatagramTypeUnknown(f"a datagram of type {raw[_TYPE_AT]}")
        try:
            items, _ = decode_prefix(
                memoryview(raw)[_TYPE_AT + 1 :], max_depth=_MAX_DEPTH, max_items=MAX_DATAGRAM
            )
            return cls(digest, reader(as_list(items)), raw)
        except RlpError as error:
            raise DatagramError(str(error)) from None

    def sender(self) -> bytes:
        """The node id that signed it, which takes most of the time; DatagramForged."""
        try:
            signed = keccak256(memoryview(self.raw)[_TYPE_AT:])
            return node_id(recover(self.raw[DIGEST_SIZE:_TYPE_AT], signed))
        except ValueError as error:
            raise DatagramForged(str(error)) from None


class Sealed(NamedTuple):
    """A datagram to send."""

    hash: bytes
    raw: bytes


def seal(key: PrivateKey, body: Body) -> Sealed:
    """Sign a datagram."""
    content = bytes([body.type]) + encode(body.fields())
    signed = sign(key, keccak256(content)) + content
    digest = keccak256(signed)
    return Sealed(digest, digest + signed)


def _sequence(more: list[Item]) -> int | None:
    """The sequence number of a record in what follows; None if it is none (EIP-8: anything)."""
    try:
        return as_int(more[0])
    except (IndexError, RlpError):
        return None


def _told(item: Item) -> Told:
    """A node in a neighbors packet: an endpoint, and the node id behind it."""
    identity = as_bytes(as_list(item, at_least=4)[3], NODE_ID_SIZE)
    return Told(UdpEndpoint.read(item), identity)
