"""Packet codes of the `waku` capability, and its statuses (6/WAKU1).

Two versions are deployed. waku/1 sends its status as a list of `[key, value]`. waku/0 sends
`[0, [[key, value], ...]]`, with the ASCII digits of each key, or with the keys as integers in nim.
Before there were Status Update packets, waku/0 had one packet for each option, as Whisper has.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Any, NamedTuple, Self

from wakumail.base.rlp import Item, as_bytes, as_int, as_list, decode, encode, split_list
from wakumail.errors import DisconnectReason, ProtocolError, RlpError
from wakumail.waku.bloom import BLOOM_SIZE, FULL_BLOOM, TOPIC_SIZE
from wakumail.waku.envelope import Batch, parse
from wakumail.waku.interest import EVERYTHING, Interest

HASH_SIZE = 32
"""Bytes of a Keccak-256 hash."""

MIN_ENVELOPE = len(encode([1 << 31, 1, bytes(TOPIC_SIZE), b"", 0]))
"""Bytes of the RLP of the smallest envelope that is not expired: one without data."""

MAX_POW = 1e9
"""Most PoW that may be asked for: the smallest envelope needs some 2^34 hashes for it."""

MAX_TOPIC_INTEREST = 10_000
"""Topics in the topic interest of a peer (6/WAKU1, "Topic Interest Field")."""

MAX_STATUS_SIZE = 128 << 10
"""Bytes of a status; one with MAX_TOPIC_INTEREST topics and a bloom has about 50,100."""

MAX_REQUEST_SIZE = 64 << 10
"""Bytes of a P2P Request packet. A request with 1000 topics takes less than 8 KiB."""

MAX_REFUSED_REQUEST = 2 * MAX_REQUEST_SIZE
"""Bytes of a P2P Request that is too large but still hashed, to refuse it by its id."""

MAX_STATUS_OPTIONS = 64
"""Entries of a status; 6/WAKU1 has seven, the others are for later versions."""

DEFAULT_POW = 0.001
"""The PoW requirement of a peer if its status has none, as in status-go."""


class Code(IntEnum):
    """Packet codes (6/WAKU1, "Packet Codes"), and those of the updates of one option.

    6/WAKU1 writes 0x20 to 0x22 for codes that are 20 to 22 on the wire.
    """

    STATUS = 0
    MESSAGES = 1
    POW = 2
    BLOOM = 3
    BATCH_ACK = 11
    MESSAGE_RESPONSE = 12
    RATE_LIMITS = 20
    TOPIC_INTEREST = 21
    STATUS_UPDATE = 22
    P2P_REQUEST_COMPLETE = 125
    P2P_REQUEST = 126
    P2P_MESSAGE = 127


ONE_OPTION: Mapping[int, str] = {
    Code.POW: "pow",
    Code.BLOOM: "bloom",
    Code.RATE_LIMITS: "packet_rate_limits",
    Code.TOPIC_INTEREST: "topic_interest",
}
"""The packets that update one option; the payload is its value."""


class StatusError(ProtocolError):
    """A status or status update that is no list of options, or has an option of a wrong shape."""

    counter = "status_malformed"
    reason = DisconnectReason.SUBPROTOCOL_ERROR


class StatusPowError(StatusError):
    """A PoW requirement that is not a number, infinite or negative."""

    counter = "status_pow_invalid"


class StatusBloomError(StatusError):
    """A bloom of neither 0 nor 64 bytes."""

    counter = "status_bloom_invalid"


class StatusTopicsError(StatusError):
    """A topic interest of more than 10,000 topics."""

    counter = "status_topics_too_many"


class RateLimits(NamedTuple):
    """The amount that a peer takes in a second from one address, one peer, and of one topic.

    0: no limit.
    """

    ip: int
    peer: int
    topic: int


NO_LIMITS = RateLimits(0, 0, 0)


@dataclass(frozen=True, slots=True)
class StatusOptions:
    """The options of a status or status update, in the order of their keys; None: not in it."""

    pow: float | None = None
    """The least PoW of an envelope, finite and not negative."""
    bloom: bytes | None = None
    """64 bytes; empty for a full bloom."""
    light: bool | None = None
    """True if the node does not relay."""
    confirmations: bool | None = None
    """True if the node sends confirmations."""
    packet_rate_limits: RateLimits | None = None
    """Packets per second."""
    topic_interest: tuple[bytes, ...] | None = None
    """All wanted topics, of 4 bytes each; empty: no envelope at all."""
    bytes_rate_limits: RateLimits | None = None
    """Bytes per second."""

    @property
    def interest(self) -> Interest | None:
        """The interest that bloom and topic interest give together; None if neither is set.

        The topic interest wins, and either replaces the interest before it (6/WAKU1, "Bloom
        Filter Field" and "Topic Interest Field").
        """
        if self.topic_interest is not None:
            return Interest(topics=self.topic_interest)
        if self.bloom is None:
            return None
        return Interest(bloom=self.bloom) if self.bloom not in (b"", FULL_BLOOM) else EVERYTHING


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """All that a peer has told us in its status and status updates."""

    pow: float = DEFAULT_POW
    interest: Interest = EVERYTHING
    light: bool = False
    confirmations: bool = False
    packet_rate_limits: RateLimits = NO_LIMITS
    bytes_rate_limits: RateLimits = NO_LIMITS

    def updated(self, options: StatusOptions) -> Self:
        """These settings after `options`; None changes nothing (6/WAKU1, "Status Update")."""
        named = ((field.name, getattr(options, field.name)) for field in fields(self))
        return replace(self, **{name: value for name, value in named if value is not None})


class WakuDialect:
    """The statuses and history packets of waku/0 or waku/1; `version` is 0 or 1.

    Unknown keys are ignored, and so are items after the known ones in a list (6/WAKU1,
    "Upgradability").
    """

    def __init__(self, version: int) -> None:
        self.version = version
        self.update_codes = frozenset({Code.STATUS_UPDATE, *(() if version else ONE_OPTION)})
        """The codes of packets that `decode_update` reads."""

    def encode_status(self, options: StatusOptions) -> bytes:
        """The payload of a status packet."""
        entries = self._entries(options)
        return encode(entries if self.version else [self.version, entries])

    def decode_status(self, payload: bytes) -> StatusOptions:
        """The options of a status packet; StatusError or one of its kinds."""
        return self._read(payload, wrapped=self.version == 0)

    def encode_update(self, options: StatusOptions) -> list[tuple[int, bytes]]:
        """The packets, each a code and a payload, that tell a peer the changed options."""
        entries = self._entries(options)
        return [(Code.STATUS_UPDATE, encode(entries))] if entries else []

    def decode_update(self, code: int, payload: bytes) -> StatusOptions:
        """The options of an update packet; errors as in decode_status."""
        if code == Code.STATUS_UPDATE:
            return self._read(payload, wrapped=False)
        return decode_one_option(code, payload)

    def decode_history(self, payload: bytes, max_envelope: int) -> Batch:
        """The envelopes of a P2P Messages packet; RlpError unless it is a list of envelopes."""
        return parse(payload, max_envelope=max_envelope)

    def _entries(self, options: StatusOptions) -> list[tuple[bytes, Any]]:
        """The options that are set as `(key, value)`, without those that this version lacks."""
        values = ((key, name, getattr(options, name)) for name, key in _KEYS[self.version].items())
        return [
            (key, pow_bits(value) if name == "pow" else value)
            for key, name, value in values
            if value is not None
        ]

    def _read(self, payload: bytes, *, wrapped: bool) -> StatusOptions:
        check_status_size(payload)
        names = _NAMES[self.version]
        options: dict[str, Any] = {}
        try:
            entries = _unwrap(payload) if wrapped else payload
            for entry in split_list(entries, max_items=MAX_STATUS_OPTIONS + 1):
                # Only known options are decoded: an unknown one may have any form.
                key, *values = split_list(entry) or [b""]
                if (name := names.get(key)) is not None:
                    options[name] = read_option(name, values[0] if values else b"")
        except RlpError as error:
            raise StatusError(f"a malformed status: {error}") from error
        return StatusOptions(**options)


def decode_one_option(code: int, payload: bytes) -> StatusOptions:
    """The option of an update packet with a code of ONE_OPTION; StatusError or one of its kinds."""
    check_status_size(payload)
    try:
        return StatusOptions(**{ONE_OPTION[code]: read_option(ONE_OPTION[code], payload)})
    except RlpError as error:
        raise StatusError(f"a malformed status update: {error}") from error


def check_status_size(payload: bytes) -> None:
    """StatusError when a status or status update is over MAX_STATUS_SIZE."""
    if len(payload) > MAX_STATUS_SIZE:
        raise StatusError(f"a status of more than {MAX_STATUS_SIZE} bytes")


def read_option(name: str, data: bytes) -> Any:
    """The value of a field of StatusOptions from its RLP; RlpError, or a kind of StatusError."""
    return _READERS[name](decode(data, max_depth=1))


def pow_bits(value: float) -> int:
    """A PoW on the wire: the IEEE 754 bits of a double (6/WAKU1, "ABNF specification")."""
    return int.from_bytes(struct.pack(">d", value), "big")


def _unwrap(payload: bytes) -> bytes:
    """The options of a waku/0 status, still encoded."""
    version, *rest = split_list(payload) or [b""]
    if not rest or as_int(decode(version)) != 0:
        raise RlpError("not of version 0")
    return rest[0]


def _read_pow(item: Item) -> float:
    value: float
    (value,) = struct.unpack(">d", as_int(item, 64).to_bytes(8, "big"))
    if not 0 <= value < float("inf"):
        raise StatusPowError(f"a PoW requirement of {value}")
    return value


def _read_bloom(item: Item) -> bytes:
    bloom = as_bytes(item)
    if len(bloom) not in (0, BLOOM_SIZE):
        raise StatusBloomError(f"a bloom of {len(bloom)} bytes")
    return bloom


def _read_flag(item: Item) -> bool:
    return as_int(item, 1) == 1


def _read_rate_limits(item: Item) -> RateLimits:
    return RateLimits(*map(as_int, as_list(item, at_least=3)[:3]))


def _read_topic_interest(item: Item) -> tuple[bytes, ...]:
    topics = as_list(item)
    if len(topics) > MAX_TOPIC_INTEREST:
        raise StatusTopicsError(f"an interest in {len(topics)} topics")
    return tuple(as_bytes(topic, TOPIC_SIZE) for topic in topics)


_READERS: Mapping[str, Callable[[Item], Any]] = {
    "pow": _read_pow,
    "bloom": _read_bloom,
    "light": _read_flag,
    "confirmations": _read_flag,
    "packet_rate_limits": _read_rate_limits,
    "topic_interest": _read_topic_interest,
    "bytes_rate_limits": _read_rate_limits,
}
"""The reader of each option; its position here is its key."""

_KEYS: Mapping[int, Mapping[str, bytes]] = {
    0: {name: b"%d" % key for key, name in enumerate(_READERS) if name != "bytes_rate_limits"},
    1: {name: bytes([key]).lstrip(b"\0") for key, name in enumerate(_READERS)},
}
"""The keys that we write; version 0 does not have the last."""

_NAMES: Mapping[int, Mapping[bytes, str]] = {
    version: {
        # The specification says "encoded starting from 0x00": some write the zero as that byte.
        b"\0": "pow",
        **{encode(_KEYS[1][name]): name for name in keys},
        **{encode(key): name for name, key in keys.items()},
    }
    for version, keys in _KEYS.items()
}
"""The encoded keys that we read; version 0 is read with integers too."""
