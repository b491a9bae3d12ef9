"""The events of a Peer."""

from dataclasses import dataclass
from typing import NamedTuple

from wakumail.devp2p.connection_events import (
    Authenticated,
    Closed,
    Uneventful,
)
from wakumail.devp2p.handshake import HandshakeStep
from wakumail.devp2p.packets import Hello
from wakumail.waku.completion import Completion
from wakumail.waku.confirmations import EnvelopeError
from wakumail.waku.envelope import Batch


@dataclass(frozen=True, slots=True)
class Ready:
    """Both statuses are exchanged: both sides may send packets of the capability `name`."""

    hello: Hello
    name: str


@dataclass(frozen=True, slots=True)
class SettingsChanged:
    """A status update has changed the peer's settings."""


class EnvelopesReceived(NamedTuple):
    """Messages packets, judged; the batch has their confirmations, if we send any."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class HistoryRequested:
    """A P2P Request packet, not decoded yet."""

    packet: bytes


@dataclass(frozen=True, slots=True)
class OversizedRequest:
    """A P2P Request packet of more than MAX_REFUSED_REQUEST bytes; `start` is its beginning."""

    start: bytes


@dataclass(frozen=True, slots=True)
class HistoryDelivered:
    """A P2P Messages packet that we asked for, or of a trusted peer; only sizes are judged."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class HistoryCompleted:
    """A Request Complete packet that we asked for, or of a trusted peer."""

    completion: Completion


class SyncReceived(NamedTuple):
    """A packet of the capability `wakusync`, not decoded yet."""

    code: int
    packet: bytes


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A Batch Ack or Message Response: the peer has the batch, except the envelopes in `errors`."""

    batch_hash: bytes
    errors: tuple[EnvelopeError, ...]


PeerEvent = (
    HandshakeStep
    | Authenticated
    | Ready
    | SettingsChanged
    | EnvelopesReceived
    | HistoryRequested
    | OversizedRequest
    | HistoryDelivered
    | HistoryCompleted
    | SyncReceived
    | Confirmed
    | Uneventful
    | Closed
)
