"""The errors of this package, as one tree.

    WakumailError
    ├── RlpError                 not canonical RLP, or not of the expected shape
    ├── EciesError               ciphertext that is not for our key, or was changed
    ├── HandshakeError           any failure of the RLPx handshake: close without a reason
    │   └── HandshakeTimeout     no keys or no hello in time
    ├── ProtocolError            a peer broke a rule: disconnect with .reason
    │   ├── FrameError           a frame that fails its MAC or its limits: close at once
    │   ├── PacketError          a packet without a readable code, or that does not inflate
    │   ├── PacketTooLarge       a packet over the limit once inflated
    │   ├── HelloError           a hello that is malformed, or over its limits
    │   ├── IncompatibleVersion  a peer that speaks a devp2p older than 4
    │   ├── NullIdentity         a hello without a node id
    │   ├── UnexpectedIdentity   a hello with another node id than the handshake
    │   ├── UselessPeer          no capability in common
    │   └── PingTimeout          nothing came from the peer for too long
    ├── RequestError             (request.py) a request that is refused: answer it with the text
    ├── MessageError             an envelope's data that does not open (7/WAKU-DATA)
    ├── ArchiveError             the archive cannot be used: a foreign file, an unknown format
    │   ├── ArchiveFull          the disk is full: nothing was stored, try again when there is room
    │   └── ArchiveDamaged       a part of the file that was needed is damaged; others may not be
    ├── PeerGone                 for a client: the connection ended, with the reason
    ├── PeerLimited              the peer's rate limits leave no room for a packet in time
    └── AnswerTimeout            for a client: the mailserver does not answer

Modules add errors of their own below these. An error that ends a connection or refuses a request
is counted under its `.counter`. The codecs raise; one place, which handles packets, catches the
error and sends its reason.
"""

from enum import IntEnum
from typing import ClassVar


class DisconnectReason(IntEnum):
    """Reasons of the Disconnect packet (RLPx, "Disconnect (0x01)")."""

    REQUESTED = 0x00
    TCP_ERROR = 0x01
    BREACH_OF_PROTOCOL = 0x02
    USELESS_PEER = 0x03
    TOO_MANY_PEERS = 0x04
    ALREADY_CONNECTED = 0x05
    INCOMPATIBLE_VERSION = 0x06
    NULL_IDENTITY = 0x07
    QUITTING = 0x08
    UNEXPECTED_IDENTITY = 0x09
    SELF_CONNECTION = 0x0A
    PING_TIMEOUT = 0x0B
    SUBPROTOCOL_ERROR = 0x10


def reason(error: Exception) -> str:
    """The text of an error for a person; an error of the system is shown without its number."""
    match error:
        case OSError(strerror=str(text), filename=None):
            return text
        case OSError(strerror=str(text), filename=about, filename2=None):
            return f"{about}: {text}"
        case TimeoutError() if not error.args:
            return "no answer in time"
    return str(error) or type(error).__name__


class WakumailError(Exception):
    """The root of all errors of this package."""

    counter: ClassVar[str] = "errors"


class RlpError(WakumailError, ValueError):
    """Bytes that are not canonical RLP, or RLP that does not have the expected shape."""

    counter = "rlp_malformed"


class EciesError(WakumailError):
    """Ciphertext that is not for our key, or was changed (RLPx, "ECIES Encryption")."""

    counter = "ecies_unopened"


class HandshakeError(WakumailError):
    """The RLPx handshake failed; the connection closes without a reason (EIP-8)."""

    counter = "handshake_failed"


class HandshakeTimeout(HandshakeError):
    """Keys and hellos were not exchanged in time."""

    counter = "handshake_timeout"


class ProtocolError(WakumailError):
    """A peer broke a rule of devp2p or Waku; it is sent the reason and disconnected."""

    counter = "protocol_breach"
    reason: ClassVar[DisconnectReason] = DisconnectReason.BREACH_OF_PROTOCOL


class FrameError(ProtocolError):
    """A frame that fails its MAC or exceeds a limit: nothing after it can be trusted."""

    counter = "frame_invalid"


class PacketError(ProtocolError):
    """A packet without a readable code, or whose data does not inflate (EIP-706)."""

    counter = "packet_malformed"


class PacketTooLarge(ProtocolError):
    """A packet that is over the limit after it is inflated (RLPx, "Message Encoding")."""

    counter = "packet_too_large"


class HelloError(ProtocolError):
    """A hello that is malformed, or over its limits (RLPx, "Hello (0x00)")."""

    counter = "hello_malformed"


class IncompatibleVersion(ProtocolError):
    """The peer speaks a devp2p version that we do not speak."""

    counter = "hello_incompatible_version"
    reason = DisconnectReason.INCOMPATIBLE_VERSION


class NullIdentity(ProtocolError):
    """The hello has no node id."""

    counter = "hello_null_identity"
    reason = DisconnectReason.NULL_IDENTITY


class UnexpectedIdentity(ProtocolError):
    """The hello has another node id than the handshake."""

    counter = "hello_unexpected_identity"
    reason = DisconnectReason.UNEXPECTED_IDENTITY


class UselessPeer(ProtocolError):
    """The peer shares no capability with us."""

    counter = "useless_peer"
    reason = DisconnectReason.USELESS_PEER


class PingTimeout(ProtocolError):
    """Nothing came from the peer for too long, not even answers to our pings."""

    counter = "ping_timeout"
    reason = DisconnectReason.PING_TIMEOUT


class MessageError(WakumailError):
    """The data field of an envelope does not open with the given keys (7/WAKU-DATA)."""

    counter = "message_unopened"


class ArchiveError(WakumailError):
    """The archive cannot do this; the text says why and what to do."""

    counter = "archive_failed"


class ArchiveFull(ArchiveError):
    """The disk has no room for a commit; nothing of it was stored, and reading goes on."""

    counter = "archive_full"


class ArchiveDamaged(ArchiveError):
    """A part of the archive's file that was needed is damaged, or cannot be read from the disk."""

    counter = "archive_damaged"


class PeerGone(WakumailError):
    """The peer is no longer connected; the text has the reason, its own or ours."""

    counter = "peer_gone"

    def __init__(self, reason: str, *, useless: bool = False) -> None:
        super().__init__(reason)
        self.useless = useless
        """True if there is no capability in common."""


class PeerLimited(WakumailError):
    """The rate limits that the peer told leave no room for a packet in time; none was sent."""

    counter = "peer_limited"


class AnswerTimeout(WakumailError):
    """No answer in time: not connected, a request not complete, or envelopes not confirmed."""

    counter = "requests_timed_out"
