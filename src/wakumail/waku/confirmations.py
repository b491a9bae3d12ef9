"""Confirmations: the Batch Ack and Message Response packets (6/WAKU1)."""

from typing import NamedTuple

from wakumail.base.rlp import Item, as_bytes, as_int, as_list, decode, encode, join_list
from wakumail.base.text import printable
from wakumail.errors import DisconnectReason, ProtocolError, RlpError
from wakumail.waku.packets import HASH_SIZE

CONFIRMATION_VERSION = 1
"""The version of the confirmation packets (6/WAKU1, "Batch Ack and Message Response")."""

MAX_RESPONSE_SIZE = 512 << 10
"""Bytes of a Message Response that we read: the errors of some 9,000 envelopes."""

MAX_CONFIRMABLE = MAX_RESPONSE_SIZE // 128
"""Envelopes of a Messages packet that we send: the peer may refuse all of them in one Message
Response. The error of one has up to 37 bytes and a text; our texts have at most 24."""

NO_ERRORS = encode([])
"""The empty list of errors."""

ALL_TAKEN = encode([CONFIRMATION_VERSION, [bytes(HASH_SIZE), []]]).split(bytes(HASH_SIZE))
"""The bytes before and after the hash in a Message Response without errors, the common case."""


class ConfirmationError(ProtocolError):
    """A malformed Batch Ack or Message Response."""

    counter = "confirmation_malformed"
    reason = DisconnectReason.SUBPROTOCOL_ERROR


class EnvelopeError(NamedTuple):
    """The reason why the peer dropped an envelope of a confirmed batch."""

    hash: bytes
    code: int
    text: str


class MessageResponse(NamedTuple):
    """A confirmed batch: the Keccak-256 of the packet's payload, and the bad envelopes in it."""

    batch_hash: bytes
    errors: tuple[EnvelopeError, ...]


def encode_batch_ack(batch_hash: bytes) -> bytes:
    """A Batch Ack: the bare hash, as every implementation sends it."""
    return encode(batch_hash)


def decode_batch_ack(payload: bytes) -> bytes:
    """The hash of a Batch Ack, bare or in the `[version, [hash, ...]]` of the specification."""
    try:
        item = decode(payload)
        if isinstance(item, list):
            item = _confirmed(item)[0]
        return as_bytes(item, HASH_SIZE)
    except RlpError as error:
        raise ConfirmationError(f"a malformed batch ack: {error}") from error


def encode_message_response(batch_hash: bytes, errors: bytes) -> bytes:
    """A Message Response: `[1, [hash, errors]]`.

    `errors` is the RLP of `[[hash, code, text], ...]`, the envelopes that were not taken.
    """
    if errors == NO_ERRORS:
        return batch_hash.join(ALL_TAKEN)
    return join_list([encode(CONFIRMATION_VERSION), join_list([encode(batch_hash), errors])])


def decode_message_response(payload: bytes) -> MessageResponse:
    """Read a Message Response; ConfirmationError when it is malformed."""
    try:
        batch_hash, reports, *_ = as_list(_confirmed(decode(payload)), at_least=2)
        errors = tuple(_envelope_error(report) for report in as_list(reports))
        return MessageResponse(as_bytes(batch_hash, HASH_SIZE), errors)
    except RlpError as error:
        raise ConfirmationError(f"a malformed message response: {error}") from error


def _confirmed(item: Item) -> list[Item]:
    """The `[hash, ...]` of a confirmation `[version, [hash, ...]]`."""
    version, response, *_ = as_list(item, at_least=2)
    if as_int(version) != CONFIRMATION_VERSION:
        raise RlpError(f"version {as_int(version)}")
    return as_list(response, at_least=1)


def _envelope_error(item: Item) -> EnvelopeError:
    envelope_hash, code, text, *_ = as_list(item, at_least=3)
    return EnvelopeError(
        as_bytes(envelope_hash, HASH_SIZE), as_int(code), printable(as_bytes(text))
    )
