"""The events of a Connection: see there for the order in which they come."""

from dataclasses import dataclass
from typing import NamedTuple

from wakumail.devp2p.handshake import (
    HandshakeStep,
)
from wakumail.devp2p.packets import (
    Hello,
    Shared,
)
from wakumail.errors import (
    DisconnectReason,
    WakumailError,
)


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The peer holds the keys of `node_id`: answer with accept() or disconnect()."""

    node_id: bytes


@dataclass(frozen=True, slots=True)
class Established:
    """Hellos are exchanged; `capabilities` (one at least) may be used from now on."""

    hello: Hello
    capabilities: tuple[Shared, ...]


class Packet(NamedTuple):
    """A packet of a shared capability: `code` is its message id less the capability's offset,
    `payload` is inflated.
    """

    capability: Shared
    code: int
    payload: bytes


class Packets(NamedTuple):
    """One or more packets with the code that was given to `Connection.gather`.

    `payloads` has their payloads one after another, inflated; `ends` has the offset at which each
    ends (see FrameReader.next_payloads).
    """

    payloads: bytes
    ends: list[int]


class OversizedPacket(NamedTuple):
    """A packet over the limit of its code (see `Connection.limit_packets`); it was dropped.

    `size` is the number of bytes that it says it has inflated, `start` its first bytes: at most
    START_SIZE, and none if Snappy does not store them as they are.
    """

    capability: Shared
    code: int
    size: int
    start: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection has ended; the last event.

    `reason` is the reason of the Disconnect packet, None if there was none; `by_peer` is true if
    the peer ended the connection. `error` is the rule that the peer broke; its `counter` counts it.
    """

    reason: DisconnectReason | int | None
    by_peer: bool
    error: WakumailError | None = None


@dataclass(frozen=True, slots=True)
class Uneventful:
    """Packets were read that need nothing of the owner; there may be more."""


ConnectionEvent = (
    HandshakeStep
    | Authenticated
    | Established
    | Packet
    | Packets
    | OversizedPacket
    | Uneventful
    | Closed
)
