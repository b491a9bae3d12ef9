"""The dialect of Whisper 6 (EIP-627; WHISPER-USAGE), the protocol that became Waku.

Envelopes, confirmations, requests and completions are those of Waku. The status is positional,

    [6, pow, bloom, light, confirmations, [ip, peer, topic]]

Any number of items at its end may be missing, but not the version. Each update of PoW, bloom or
packet limits is a packet of its own. There is no topic interest: a bloom takes its place.
"""

from typing import Any

from wakumail.base.rlp import as_int, decode, encode, join_list, split_list
from wakumail.errors import RlpError
from wakumail.waku.bloom import FULL_BLOOM, bloom_of
from wakumail.waku.envelope import Batch, Envelope, parse
from wakumail.waku.interest import Interest
from wakumail.waku.packets import (
    MAX_STATUS_OPTIONS,
    Code,
    PeerSettings,
    StatusError,
    StatusOptions,
    check_status_size,
    decode_one_option,
    pow_bits,
    read_option,
)

WHISPER_VERSION = 6

STATUS_ORDER = ("pow", "bloom", "light", "confirmations", "packet_rate_limits")
"""The options of a status after the version, in order."""


class WhisperDialect:
    """The statuses and history packets of shh/6."""

    update_codes = frozenset({Code.POW, Code.BLOOM, Code.RATE_LIMITS})
    """The codes of packets that `decode_update` reads."""

    def encode_status(self, options: StatusOptions) -> bytes:
        """The payload of a status packet; options that are not set get their defaults."""
        ours = PeerSettings().updated(options)
        limits = options.packet_rate_limits
        flags = [ours.light, ours.confirmations]
        items: list[Any] = [WHISPER_VERSION, pow_bits(ours.pow), _bloom(ours.interest), *flags]
        return encode([*items, limits] if limits is not None else items)

    def decode_status(self, payload: bytes) -> StatusOptions:
        """The options of a status packet; StatusError or one of its kinds."""
        check_status_size(payload)
        try:
            version, *items = split_list(payload, max_items=MAX_STATUS_OPTIONS) or [b""]
            if as_int(decode(version)) != WHISPER_VERSION:
                raise RlpError(f"not of version {WHISPER_VERSION}")
            named = zip(STATUS_ORDER, items, strict=False)
            return StatusOptions(**{name: read_option(name, item) for name, item in named})
        except RlpError as error:
            raise StatusError(f"a malformed status: {error}") from error

    def encode_update(self, options: StatusOptions) -> list[tuple[int, bytes]]:
        """The packets, each a code and a payload, that tell a peer the changed options.

        Whisper has packets for PoW, bloom and packet rate limits only.
        """
        packets: list[tuple[int, bytes]] = []
        if options.pow is not None:
            packets.append((Code.POW, encode(pow_bits(options.pow))))
        if options.interest is not None:
            packets.append((Code.BLOOM, encode(_bloom(options.interest))))
        if options.packet_rate_limits is not None:
            packets.append((Code.RATE_LIMITS, encode(options.packet_rate_limits)))
        return packets

    def decode_update(self, code: int, payload: bytes) -> StatusOptions:
        """The option of an update packet; errors as in decode_status."""
        return decode_one_option(code, payload)

    def decode_history(self, payload: bytes, max_envelope: int) -> Batch:
        """The envelopes of a P2P Messages packet, a list or one envelope; RlpError otherwise.

        EIP-627 has one envelope, Status a list (WHISPER-MAILSERVER, "Receiving historic messages").
        """
        try:
            return parse(payload, max_envelope=max_envelope)
        except RlpError:
            packet = join_list([Envelope.decode(payload).rlp])
            return parse(packet, max_envelope=max_envelope)


def _bloom(interest: Interest) -> bytes:
    """A bloom that covers every topic of the interest."""
    if interest.topics is not None:
        return bloom_of(interest.topics)
    return FULL_BLOOM if interest.bloom is None else interest.bloom
