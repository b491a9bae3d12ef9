"""What can go wrong, as one tree.

    WakumailError
    ├── RlpError                 not canonical RLP, or not of the expected shape
    ├── EciesError               ciphertext that is not for our key, or was changed on its way
    ├── HandshakeError           any failure of the RLPx handshake: close without saying why
    │   └── HandshakeTimeout     it took too long, up to and with the hello
    ├── ProtocolError            a peer broke a rule: disconnect with .reason
    │   ├── FrameError           a frame that fails its MAC or its limits: close at once
    │   ├── PacketError          a packet without a readable code, or that does not inflate
    │   ├── PacketTooLarge       a packet over the limit once inflated
    │   ├── HelloError           a hello that is malformed, or over its limits
    │   ├── IncompatibleVersion  a peer that speaks a devp2p older than 4
    │   ├── NullIdentity         a hello without a node id
    │   ├── UnexpectedIdentity   a hello with another node id than the handshake had
    │   ├── UselessPeer          no capability in common
    │   └── PingTimeout          nothing came for too long
    ├── RequestError             (request.py) a request that is refused: answer it with the text
    ├── MessageError             an envelope's data that does not open (7/WAKU-DATA)
    ├── ArchiveError             the archive refuses: a foreign file, an unknown format
    │   └── ArchiveFull          the disk is full: nothing was stored, try again when there is room
    ├── PeerGone                 the client's view: the connection ended, with the reason
    └── AnswerTimeout            the client's view: the mailserver fell silent

The modules add their own below these. An error that ends a connection or refuses a request is
counted under its `.counter`.
Raise deep, catch once at the packet boundary, map once to a reason on the wire.
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
    """What an error says for a person: one of the system's without its number."""
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
    """Bytes that are not canonical RLP, or RLP that has not the expected shape."""

    counter = "rlp_malformed"


class EciesError(WakumailError):
    """Ciphertext that is not for our key, or not what was sent (RLPx, "ECIES Encryption")."""

    counter = "ecies_unopened"


class HandshakeError(WakumailError):
    """The RLPx handshake failed; the connection closes without a word (EIP-8)."""

    counter = "handshake_failed"


class HandshakeTimeout(HandshakeError):
    """Keys and hellos were not exchanged in time."""

    counter = "handshake_timeout"


class ProtocolError(WakumailError):
    """A peer broke a rule of devp2p or Waku; it is told the reason and disconnected."""

    counter = "protocol_breach"
    reason: ClassVar[DisconnectReason] = DisconnectReason.BREACH_OF_PROTOCOL


class FrameError(ProtocolError):
    """A frame that fails its MAC or exceeds a limit: nothing after it can be trusted."""

    counter = "frame_invalid"


class PacketError(ProtocolError):
    """A packet without a readable code, or whose data does not inflate (EIP-706)."""

    counter = "packet_malformed"


class PacketTooLarge(ProtocolError):
    """A packet over the limit once inflated (RLPx, "Message Encoding")."""

    counter = "packet_too_large"


class HelloError(ProtocolError):
    """A hello that is malformed, or over its limits (RLPx, "Hello (0x00)")."""

    counter = "hello_malformed"


class IncompatibleVersion(ProtocolError):
    """The peer's devp2p version is one that we do not speak."""

    counter = "hello_incompatible_version"
    reason = DisconnectReason.INCOMPATIBLE_VERSION


class NullIdentity(ProtocolError):
    """The hello has no node id."""

    counter = "hello_null_identity"
    reason = DisconnectReason.NULL_IDENTITY


class UnexpectedIdentity(ProtocolError):
    """The node id of the hello is not the one that the handshake proved."""

    counter = "hello_unexpected_identity"
    reason = DisconnectReason.UNEXPECTED_IDENTITY


class UselessPeer(ProtocolError):
    """The peer shares no capability with us."""

    counter = "useless_peer"
    reason = DisconnectReason.USELESS_PEER


class PingTimeout(ProtocolError):
    """Nothing came from the peer for too long, no answer to our pings either."""

    counter = "ping_timeout"
    reason = DisconnectReason.PING_TIMEOUT


class MessageError(WakumailError):
    """The data field of an envelope does not open with the keys at hand (7/WAKU-DATA)."""

    counter = "message_unopened"


class ArchiveError(WakumailError):
    """The archive cannot do what was asked; the text says why and what to do."""

    counter = "archive_failed"


class ArchiveFull(ArchiveError):
    """The disk has no room for a commit; nothing of it was stored, and reading goes on."""

    counter = "archive_full"


class PeerGone(WakumailError):
    """The peer is no longer connected; the text holds the reason that it gave or that we found."""

    counter = "peer_gone"


class AnswerTimeout(WakumailError):
    """The mailserver fell silent: not reached, a request not complete, envelopes unconfirmed."""

    counter = "requests_timed_out"
