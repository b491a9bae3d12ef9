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
    """A packet of a shared capability: `code` counts from its offset, `payload` is inflated."""

    capability: Shared
    code: int
    payload: bytes


class Packets(NamedTuple):
    """One or more packets of the code that `gather` named: their payloads one after another, and
    where each ends in those (see FrameReader.next_payloads).
    """

    payloads: bytes
    ends: list[int]


@dataclass(frozen=True, slots=True)
class Closed:
    """The end, and the last event.

    `reason` is what the one who ended it said, None for who ended without a word; `by_peer` tells
    who that was. `error` is what the peer did wrong, to be counted by its `counter`.
    """

    reason: DisconnectReason | int | None
    by_peer: bool
    error: WakumailError | None = None


@dataclass(frozen=True, slots=True)
class Uneventful:
    """Packets were taken that need nothing of the owner, and there may be more."""


ConnectionEvent = (
    HandshakeStep | Authenticated | Established | Packet | Packets | Uneventful | Closed
)
