"""The "p2p" capability: hello, disconnect, and the message ids of capabilities (devp2p, "RLPx")."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from wakumail.base import rlp
from wakumail.base.text import printable
from wakumail.errors import (
    DisconnectReason,
    HelloError,
    IncompatibleVersion,
    NullIdentity,
    PacketError,
    RlpError,
    UnexpectedIdentity,
    UselessPeer,
)

P2P_VERSION = 5
"""The version that we send: packets after the hello are compressed with Snappy (EIP-706)."""

MIN_P2P_VERSION = 4
"""The oldest version that we accept; nim nodes of 2020 and 2021 speak it."""

SNAPPY_VERSION = 5
"""Both sides compress if both have at least this version."""

MAX_P2P_PACKET = 2048
"""Bytes of a hello or disconnect, without its message id; Go takes no more either."""

MAX_MESSAGE_ID_SIZE = 5
"""Bytes of an RLP integer of 32 bits."""

HELLO_ITEMS = 5
"""Items of a hello that are read; any that follow are ignored."""

MAX_CAPABILITIES = 64
"""Capabilities in one hello."""

MAX_CAPABILITY_NAME = 8
"""Bytes of a capability's name (devp2p, rlpx.md, "Capability Messaging"), in ASCII. Others are left
out: nobody can share them."""

MAX_CLIENT_ID = 128
"""Characters of a peer's client id that are kept."""

P2P_MESSAGE_IDS = 0x10
"""Number of message ids of p2p itself; those of the shared capabilities follow."""


class MessageId(IntEnum):
    """Message ids of the p2p capability; the others below P2P_MESSAGE_IDS are unused."""

    HELLO = 0x00
    DISCONNECT = 0x01
    PING = 0x02
    PONG = 0x03


class Capability(NamedTuple):
    """A protocol that a node speaks over its connections."""

    name: str
    version: int


WAKU = (Capability("waku", 0), Capability("waku", 1))
"""Both deployed versions; the highest common one is spoken."""

SHH6 = Capability("shh", 6)
"""Whisper, of which Waku is a fork."""

SYNC = Capability("wakusync", 1)
"""Two archives that are made equal (docs/sync.md). Its name sorts behind those above, so that their
message ids stay where they are, and has the 8 characters that a name may have."""

CAPABILITY_LENGTHS: dict[Capability, int] = {**dict.fromkeys((*WAKU, SHH6), 128), SYNC: 16}
"""Number of message ids of each capability, from its specification."""


@dataclass(frozen=True, slots=True)
class Shared:
    """A capability that both sides speak; its message ids are the `length` ones from `offset`.

    A packet's code is its message id less `offset`.
    """

    name: str
    version: int
    offset: int
    length: int

    def message_id(self, code: int) -> int:
        """The message id of a code; ValueError if the capability does not have it."""
        if not 0 <= code < self.length:
            raise ValueError(f"{self.name} has no code {code}")
        return self.offset + code


@dataclass(frozen=True, slots=True)
class Hello:
    """The first packet of each side; it describes the node."""

    version: int
    client_id: str
    capabilities: tuple[Capability, ...]
    listen_port: int
    node_id: bytes

    def encode(self) -> bytes:
        """The data of the packet; a hello is never compressed."""
        capabilities: list[list[bytes | int]] = [
            [c.name.encode(), c.version] for c in self.capabilities
        ]
        client_id = self.client_id.encode()
        return rlp.encode([self.version, client_id, capabilities, self.listen_port, self.node_id])

    @classmethod
    def decode(cls, data: bytes) -> "Hello":
        """Read a hello; further list items are ignored. HelloError when it is malformed."""
        if len(data) > MAX_P2P_PACKET:
            raise HelloError(f"a hello of {len(data)} bytes")
        try:
            first = [rlp.decode(item) for item in rlp.split_list(data)[:HELLO_ITEMS]]
            version, client_id, capabilities, port, identity = rlp.as_list(
                first, at_least=HELLO_ITEMS
            )
            return cls(
                _number(version),
                printable(rlp.as_bytes(client_id), MAX_CLIENT_ID),
                tuple(_capabilities(rlp.as_list(capabilities, at_most=MAX_CAPABILITIES))),
                _number(port),
                rlp.as_bytes(identity),
            )
        except RlpError as error:
            raise HelloError(str(error)) from error

    def verify(self, node_id: bytes) -> None:
        """Check the version, and that the node id is `node_id`, which the handshake has shown.

        IncompatibleVersion, NullIdentity or UnexpectedIdentity.
        """
        if self.version < MIN_P2P_VERSION:
            raise IncompatibleVersion(f"devp2p version {self.version}")
        if not any(self.node_id):
            raise NullIdentity("the hello has no node id")
        if self.node_id != node_id:
            raise UnexpectedIdentity("the hello has another node id than the handshake")


def _capabilities(items: list[rlp.Item]) -> Iterator[Capability]:
    """The capabilities that have a name as the protocol allows it."""
    for item in items:
        name_item, version_item = rlp.as_list(item, at_least=2, at_most=2)
        name, version = rlp.as_bytes(name_item), _number(version_item)
        if len(name) <= MAX_CAPABILITY_NAME and name.isascii():
            yield Capability(name.decode(), version)


def _number(item: rlp.Item) -> int:
    """A number in a hello; @ethereumjs/devp2p writes zero as the byte 0."""
    return 0 if item == b"\0" else rlp.as_int(item)


def negotiate(ours: Iterable[Capability], theirs: Iterable[Capability]) -> tuple[Shared, ...]:
    """The shared capabilities and their message ids (RLPx, "Message ID-based Multiplexing").

    Only the highest common version of each name is used. The names get their ids in alphabetical
    order. UselessPeer when there is no capability in common.
    """
    # Sorted by name, then version: the dict keeps the last, the highest, version of each name.
    highest = dict(sorted(set(ours) & set(theirs)))
    shared = []
    offset = P2P_MESSAGE_IDS
    for capability in map(Capability._make, highest.items()):
        length = CAPABILITY_LENGTHS[capability]
        shared.append(Shared(*capability, offset, length))
        offset += length
    if not shared:
        raise UselessPeer("no capability in common")
    return tuple(shared)


def encode_disconnect(reason: DisconnectReason) -> bytes:
    """The data of a disconnect packet: a list with the reason, as specified."""
    return rlp.encode([reason])


def decode_disconnect(data: bytes) -> DisconnectReason | int:
    """The reason in a disconnect packet; REQUESTED when none can be read.

    Peers send `[reason]`, the reason alone (status-go), or an empty list. A number of one byte
    that is no known reason is returned as a number.
    """
    try:
        item = rlp.decode(data)
        if isinstance(item, list):
            item = item[0] if item else b""
        number = rlp.as_int(item, bits=8)
    except RlpError:
        return DisconnectReason.REQUESTED
    try:
        return DisconnectReason(number)
    except ValueError:
        return number


def read_message_id(frame: memoryview) -> tuple[int, int]:
    """The message id at the start of a frame, and its bytes; PacketError when there is none."""
    if 0 < frame[0] < 0x80:  # the common case: the byte is its own RLP
        return frame[0], 1
    try:
        item, size = rlp.decode_prefix(frame[:MAX_MESSAGE_ID_SIZE])
        return rlp.as_int(item), size
    except RlpError as error:
        raise PacketError(f"a packet without a message id: {error}") from error
