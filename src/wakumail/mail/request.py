"""Requests for history: the seven forms in which they are made, their fields, their refusals.

    R1, R2   a plain list, not encrypted; it names its own id
    R3-R6    a list in the payload of an envelope that is sealed for the mailserver
    R7       fields of fixed size in such a payload, big-endian:
             lower (4)  upper (4)  [bloom (64)  [limit (4)  [cursor (36; of 40 the last 4 unused)]]]

The id of a request in an envelope is the envelope's hash (8/WAKU-MAIL; docs/dialects.md).
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from wakumail.base.keccak import keccak256
from wakumail.base.rlp import Item, as_bytes, as_int, as_list, decode, encode, split_list
from wakumail.devp2p.keys import PrivateKey, PublicKey, Random
from wakumail.errors import MessageError, RlpError, WakumailError
from wakumail.waku.bloom import BLOOM_SIZE, FULL_BLOOM, TOPIC_SIZE, bloom_of
from wakumail.waku.completion import CURSOR_SIZE, MAX_FOREIGN_CURSOR, CompletionForm
from wakumail.waku.envelope import MAX_TIME, Envelope, make_envelope
from wakumail.waku.message import Message, open_message, seal
from wakumail.waku.packets import HASH_SIZE, MAX_REQUEST_SIZE
from wakumail.waku.pow import mine

MAX_LIMIT = 1000
"""Envelopes that one request may ask for, unless the operator sets another `--max-limit`."""

MAX_REQUEST_TOPICS = 1000
"""Topics of one request (8/WAKU-MAIL, "Requesting Historic Envelopes")."""

UPPER_MARGIN = 60
"""Seconds. A request without an upper time asks up to this long after now."""

REQUEST_TTL = 50
"""Seconds: the ttl of the envelope of a request."""

REQUEST_POW = 0.002
"""PoW of the envelope of a request, as in status-go's clients."""

REQUEST_TOPIC = bytes(TOPIC_SIZE)
"""The topic of the envelope of a request."""

BINARY_SIZES = (8, 72, 76, 112, 116)
"""The possible sizes in bytes of a payload of form R7."""

LONG_LIST = 0xF8
"""The least first byte of an RLP list of more than 55 bytes: one byte follows that has its size, or
more for each number above."""

ID_PREFIX = bytes([0x80 + HASH_SIZE])
"""The byte before an id in RLP."""

LIST_MARK = b"\xc0"
"""The least first byte of an RLP list. A binary payload begins with `lower`, whose first byte is
less until 2072."""


class Form(Enum):
    """The forms of a request. The value of each names those who speak it."""

    R1 = "the last production Status app, plain"
    R2 = "status whisper of 2019, plain"
    R3 = "status-go since 2020"
    R4 = "status-go of 2018 to 2020"
    R5 = "118/WAKU-MAILSERVER, nim"
    R6 = "8/WAKU-MAIL"
    R7 = "geth's wnode, Status of 2018, binary"

    @property
    def completion_form(self) -> CompletionForm:
        """The form of completion that its speakers read."""
        return CompletionForm.LIST if self in (Form.R5, Form.R6) else CompletionForm.BYTES


FIELDS: Mapping[Form, tuple[str, ...]] = {
    Form.R1: ("id", "lower", "upper", "limit", "cursor", "bloom", "topics"),
    Form.R2: ("id", "lower", "upper", "limit", "cursor", "bloom"),
    Form.R3: ("lower", "upper", "bloom", "topics", "limit", "cursor", "batch"),
    Form.R4: ("lower", "upper", "bloom", "limit", "cursor", "batch"),
    Form.R5: ("lower", "upper", "bloom", "limit", "cursor"),
    Form.R6: ("lower", "upper", "bloom", "limit", "cursor", "topics"),
    Form.R7: ("lower", "upper", "bloom", "limit", "cursor"),
}
"""The fields of each form, in order. R5 may end before the cursor."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request for the envelopes of some topics, created from `lower` to `upper`."""

    form: Form
    request_id: bytes
    lower: int
    """Unix seconds, inclusive."""
    upper: int
    """Unix seconds, inclusive, as it was sent: 0 if none was named (see `resolved_upper`)."""
    bloom: bytes
    """64 bytes, or none if there are topics."""
    topics: tuple[bytes, ...]
    """4 bytes each, none twice. If there are any, the bloom is ignored."""
    limit: int
    """Envelopes, from 1 to the policy's max_limit."""
    cursor: bytes
    """The start of the page: CURSOR_SIZE bytes, or none for the first page."""
    batch: bool
    """True if several envelopes may travel in one packet."""

    @property
    def completion_form(self) -> CompletionForm:
        """The form of the completion that answers it."""
        return self.form.completion_form

    def resolved_upper(self, now: int) -> int:
        """The upper time in Unix seconds: UPPER_MARGIN after `now` if none was named."""
        return self.upper or min(now + UPPER_MARGIN, MAX_TIME)


class RequestError(WakumailError):
    """A request for history is refused; the text goes to the peer (8/WAKU-MAIL).

    `request_id` (32 bytes) and `completion_form` are those of the answer. They are empty and None
    until they are known.
    """

    counter = "request_invalid"

    def __init__(
        self, text: str, request_id: bytes = b"", completion_form: CompletionForm | None = None
    ) -> None:
        super().__init__(text)
        self.request_id = request_id
        self.completion_form = completion_form


class RequestFormError(RequestError):
    """A packet, or the payload of its envelope, is a request of no form."""

    counter = "request_malformed"


class RequestSealError(RequestError):
    """None of our keys opens the envelope of a request."""

    counter = "request_unopened"


class RequestSignatureError(RequestError):
    """A request is not signed, though a signature is required."""

    counter = "request_unsigned"


class RequestPowError(RequestError):
    """The envelope of a request has less PoW than is required."""

    counter = "request_pow_low"


class RequestRangeError(RequestError):
    """The lower time of a request is after the upper one."""

    counter = "request_range_inverted"


class RequestBloomError(RequestError):
    """The bloom of a request has neither 0 nor 64 bytes."""

    counter = "request_bloom_invalid"


class RequestFilterError(RequestError):
    """A request has neither topics nor a bloom."""

    counter = "request_filter_missing"


class RequestTopicsError(RequestError):
    """A request has more than 1,000 topics."""

    counter = "request_topics_too_many"


class RequestCursorError(RequestError):
    """The cursor of a request has neither 0 nor 36 bytes."""

    counter = "request_cursor_invalid"


@dataclass(frozen=True, slots=True)
class RequestKeys:
    """The mailserver's keys. The envelope of a request is sealed for one of them."""

    symmetric: bytes | None = None
    """32 bytes, see message.symmetric_key."""
    private: tuple[PrivateKey, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestPolicy:
    """The conditions on a request.

    A plain request has neither a signature nor PoW, so it is refused if one of them is required.
    """

    require_signature: bool
    """A signature by any key will do, so it says nothing about the sender."""
    request_min_pow: float
    max_limit: int
    """Envelopes of one answer, also if a request asks for more or names no number."""


class _Opened(NamedTuple):
    """A request whose form is known and whose fields are not read yet."""

    form: Form
    fields: Mapping[str, Item]
    envelope: Envelope | None
    message: Message | None


def identify(packet: bytes) -> bytes:
    """The request id of a P2P Request packet: the one that it names, or the packet's Keccak-256."""
    if len(packet) <= MAX_REQUEST_SIZE:
        try:
            first = decode(next(iter(split_list(packet)), b""))
        except RlpError:
            pass
        else:
            if _is_id(first):
                return as_bytes(first)
    return keccak256(packet)


def named_id(start: bytes) -> bytes | None:
    """The id that a plain request names at its start; None if `start` begins no plain request.

    `start` is the beginning of a packet of more than 55 bytes.
    """
    if not start or start[0] < LONG_LIST:
        return None
    first = 1 + start[0] - LONG_LIST + 1  # after the list's prefix and its size
    if start[first : first + 1] != ID_PREFIX or len(start) < first + 1 + HASH_SIZE:
        return None
    return start[first + 1 : first + 1 + HASH_SIZE]


def read_request(packet: bytes, keys: RequestKeys, policy: RequestPolicy, now: int) -> Request:
    """The request in a P2P Request packet; `now` is in Unix seconds.

    Every failure is a RequestError of its own kind. It carries the request id and the form of the
    completion that answers it: BYTES if the request's form was not recognised.
    """
    request_id, completion_form = identify(packet), CompletionForm.BYTES
    try:
        opened = _open(packet, keys)
        completion_form = opened.form.completion_form
        _check_sender(opened, policy)
        request = _read_fields(opened, request_id, policy)
        _check_filter(request, now)
    except RlpError as error:
        raise RequestFormError(
            f"malformed request: {error}", request_id, completion_form
        ) from error
    except RequestError as error:
        error.request_id, error.completion_form = request_id, completion_form
        raise
    return request


def build_request(
    form: Form,
    *,
    lower: int,
    upper: int,
    bloom: bytes = b"",
    topics: Sequence[bytes] = (),
    limit: int = 0,
    cursor: bytes = b"",
    batch: bool = True,
    request_id: bytes | None = None,
    key: bytes | PublicKey | None = None,
    sign_with: PrivateKey | None = None,
    random: Random,
    now: int,
) -> tuple[bytes, bytes]:
    """A P2P Request packet and its request id.

    Times are Unix seconds. A form without topics asks with their bloom, so the answer may have
    envelopes of other topics. A form without `batch` leaves that choice to the mailserver. R1 and
    R2 name `request_id` (32 bytes, random by default). The others are sealed with `key` and signed
    with `sign_with`.

    ValueError and TypeError for what does not fit into the fields (as check_fields and
    check_cursor), and ValueError for a sealed form without a key.
    """
    check_fields(lower=lower, upper=upper, limit=limit, topics=topics, bloom=bloom)
    check_cursor(cursor, form)
    if topics and "topics" not in FIELDS[form]:
        bloom = bloom_of(topics)
    fields: dict[str, Any] = {
        "lower": lower,
        "upper": upper,
        "bloom": bloom,
        "topics": topics,
        "limit": limit,
        "cursor": cursor,
        "batch": batch,
    }
    if "id" in FIELDS[form]:
        fields["id"] = request_id or random(HASH_SIZE)
        return _join_fields(form, fields), fields["id"]
    if key is None:
        raise ValueError(f"a request of form {form.name} needs a key")
    data = seal(_join_fields(form, fields), key=key, sign_with=sign_with, random=random)
    expiry = now + REQUEST_TTL
    nonce = mine(expiry, REQUEST_TTL, REQUEST_TOPIC, data, target=REQUEST_POW)
    assert nonce is not None, "mining without a bound ends with a nonce"
    envelope = make_envelope(expiry, REQUEST_TTL, REQUEST_TOPIC, data, nonce)
    return envelope.rlp, envelope.hash


def check_fields(
    *, lower: int, upper: int, limit: int, topics: Sequence[bytes], bloom: bytes
) -> None:
    """ValueError for a field of a wrong size, TypeError for one of a wrong type."""
    for number in (lower, upper, limit):
        if not isinstance(number, int):
            raise TypeError(f"times and limit are integers, not {type(number).__name__}")
    if not isinstance(bloom, bytes):
        raise TypeError(f"a bloom is bytes, not {type(bloom).__name__}")
    if not all(0 <= number <= MAX_TIME for number in (lower, upper, limit)):
        raise ValueError("times and limit are integers of 32 bits")
    if len(topics) > MAX_REQUEST_TOPICS:
        raise ValueError(f"{len(topics)} topics, of at most {MAX_REQUEST_TOPICS}")
    for topic in topics:
        if not isinstance(topic, bytes):
            raise TypeError(f"topics are bytes, not {type(topic).__name__}")
        if len(topic) != TOPIC_SIZE:
            raise ValueError(f"a topic has {TOPIC_SIZE} bytes, not {len(topic)}")
    if len(bloom) not in (0, BLOOM_SIZE):
        raise ValueError(f"a bloom has {BLOOM_SIZE} bytes, not {len(bloom)}")


def check_cursor(cursor: bytes, form: Form) -> None:
    """ValueError for a cursor that no answer to this form can have had; TypeError for other types.

    Completions of the form LIST may have cursors of other implementations.
    """
    if not isinstance(form, Form):
        raise TypeError(f"a form is a Form, not {type(form).__name__}")
    if not isinstance(cursor, bytes):
        raise TypeError(f"a cursor is bytes, not {type(cursor).__name__}")
    if form.completion_form is CompletionForm.LIST:
        if len(cursor) > MAX_FOREIGN_CURSOR:
            raise ValueError(f"a cursor has at most {MAX_FOREIGN_CURSOR} bytes, not {len(cursor)}")
    elif len(cursor) not in (0, CURSOR_SIZE):
        raise ValueError(f"a cursor has {CURSOR_SIZE} bytes, not {len(cursor)}")


def _is_id(item: Item) -> bool:
    return isinstance(item, bytes) and len(item) == HASH_SIZE


def _open(packet: bytes, keys: RequestKeys) -> _Opened:
    if len(packet) > MAX_REQUEST_SIZE:
        raise RequestFormError(f"a request of more than {MAX_REQUEST_SIZE} bytes")
    items = as_list(decode(packet), at_least=1)
    if _is_id(items[0]):
        form = Form.R2 if len(items) == len(FIELDS[Form.R2]) else Form.R1
        return _Opened(form, _named(form, items), None, None)
    envelope = Envelope.decode(packet)
    message = _decrypt(envelope.data, keys)
    form, fields = _recognise(message.payload)
    return _Opened(form, fields, envelope, message)


def _decrypt(data: bytes, keys: RequestKeys) -> Message:
    symmetric = () if keys.symmetric is None else (keys.symmetric,)
    for key in (*symmetric, *keys.private):
        try:
            return open_message(data, key)
        except MessageError:
            continue
    raise RequestSealError("no key of this mailserver opens the request")


def _recognise(payload: bytes) -> tuple[Form, Mapping[str, Item]]:
    """The form and the fields of the payload of a request's envelope."""
    if payload[:1] < LIST_MARK:
        return Form.R7, _split_binary(payload)
    items = as_list(decode(payload), at_least=4)
    if len(items) == len(FIELDS[Form.R6]):
        form = Form.R6 if isinstance(items[-1], list) else Form.R4
    else:
        form = Form.R5 if len(items) < len(FIELDS[Form.R6]) else Form.R3
    return form, _named(form, items)


def _named(form: Form, items: Sequence[Item]) -> Mapping[str, Item]:
    names = FIELDS[form]
    if len(items) > len(names) or (len(items) < len(names) and form is not Form.R5):
        raise RequestFormError(f"a request of {len(items)} items")
    return dict(zip(names, items, strict=False))


def _split_binary(payload: bytes) -> Mapping[str, Item]:
    """The fields of form R7, in the encoding that they have in a list."""
    if len(payload) not in BINARY_SIZES:
        raise RequestFormError(f"a binary request of {len(payload)} bytes")
    cursor = payload[76 : 76 + CURSOR_SIZE]
    return {
        "lower": payload[:4].lstrip(b"\0"),
        "upper": payload[4:8].lstrip(b"\0"),
        "bloom": payload[8:72] or FULL_BLOOM,
        "limit": payload[72:76].lstrip(b"\0"),
        "cursor": cursor if any(cursor) else b"",
    }


def _join_fields(form: Form, fields: Mapping[str, Any]) -> bytes:
    """The bytes of a plain request, or of the payload of a sealed one."""
    if form is not Form.R7:
        return encode([fields[name] for name in FIELDS[form]])
    limit: int = fields["limit"]
    cursor: bytes = fields["cursor"]
    payload = struct.pack(">II", fields["lower"], fields["upper"])
    if payload[:1] >= LIST_MARK:
        raise ValueError(f"form R7 cannot ask from {fields['lower']} on")
    if fields["bloom"] or limit or cursor:
        payload += fields["bloom"] or FULL_BLOOM
    if limit or cursor:
        payload += struct.pack(">I", limit)
    return payload + cursor


def _check_sender(opened: _Opened, policy: RequestPolicy) -> None:
    if policy.require_signature and not _is_signed(opened.message):
        raise RequestSignatureError("the request is not signed")
    if policy.request_min_pow > 0:
        envelope = opened.envelope
        # With a ttl of 0 the PoW would be infinite, by a division by zero and not by work.
        if envelope is None or envelope.ttl == 0 or envelope.pow < policy.request_min_pow:
            raise RequestPowError(f"the request shows less PoW than {policy.request_min_pow}")


def _is_signed(message: Message | None) -> bool:
    try:
        return message is not None and message.signer is not None
    except MessageError:
        return False


def _read_fields(opened: _Opened, request_id: bytes, policy: RequestPolicy) -> Request:
    fields = opened.fields
    limit = as_int(fields["limit"], 32)
    return Request(
        form=opened.form,
        request_id=request_id,
        lower=as_int(fields["lower"], 32),
        upper=as_int(fields["upper"], 32),
        bloom=as_bytes(fields["bloom"]),
        topics=_read_topics(fields.get("topics", [])),
        limit=min(limit or policy.max_limit, policy.max_limit),
        cursor=as_bytes(fields.get("cursor", b"")),
        batch=as_int(fields.get("batch", b"\x01"), 1) == 1,
    )


def _read_topics(item: Item) -> tuple[bytes, ...]:
    """Topics as status-go reads them: longer ones are cut, shorter ones filled up with zeros."""
    topics = as_list(item)
    if len(topics) > MAX_REQUEST_TOPICS:
        raise RequestTopicsError(f"a request for {len(topics)} topics")
    return tuple(
        dict.fromkeys(as_bytes(topic)[:TOPIC_SIZE].ljust(TOPIC_SIZE, b"\0") for topic in topics)
    )


def _check_filter(request: Request, now: int) -> None:
    if request.lower > request.resolved_upper(now):
        raise RequestRangeError("the lower time is after the upper one")
    if len(request.bloom) not in (0, BLOOM_SIZE):
        raise RequestBloomError(f"a bloom of {len(request.bloom)} bytes")
    if not request.bloom and not request.topics:
        raise RequestFilterError("neither topics nor a bloom")
    if len(request.cursor) not in (0, CURSOR_SIZE):
        raise RequestCursorError(f"a cursor of {len(request.cursor)} bytes")
