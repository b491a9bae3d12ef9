"""A request for history: its forms, its fields, and why it may be refused (8/WAKU-MAIL)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from wakumail.errors import WakumailError
from wakumail.waku.completion import Dialect
from wakumail.waku.envelope import MAX_TIME

MAX_LIMIT = 1000
"""Envelopes that one request may ask for, unless the operator says otherwise."""

MAX_REQUEST_TOPICS = 1000
"""Topics of one request (8/WAKU-MAIL, "Requesting Historic Envelopes")."""

UPPER_MARGIN = 60
"""Seconds from now to the upper end of a request that names none."""


class Form(Enum):
    """The forms of a request, by who speaks them."""

    R1 = "the last production Status app, plain"
    R2 = "status whisper of 2019, plain"
    R3 = "status-go since 2020"
    R4 = "status-go of 2018 to 2020"
    R5 = "118/WAKU-MAILSERVER, nim"
    R6 = "8/WAKU-MAIL"
    R7 = "geth's wnode, Status of 2018, binary"

    @property
    def dialect(self) -> Dialect:
        """How those who speak it read the completion."""
        return Dialect.LIST if self in (Form.R5, Form.R6) else Dialect.BYTES


FIELDS: Mapping[Form, tuple[str, ...]] = {
    Form.R1: ("id", "lower", "upper", "limit", "cursor", "bloom", "topics"),
    Form.R2: ("id", "lower", "upper", "limit", "cursor", "bloom"),
    Form.R3: ("lower", "upper", "bloom", "topics", "limit", "cursor", "batch"),
    Form.R4: ("lower", "upper", "bloom", "limit", "cursor", "batch"),
    Form.R5: ("lower", "upper", "bloom", "limit", "cursor"),
    Form.R6: ("lower", "upper", "bloom", "limit", "cursor", "topics"),
    Form.R7: ("lower", "upper", "bloom", "limit", "cursor"),
}
"""The fields of each form, in its order; R5 may end before the cursor."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for: the envelopes of some topics, created from `lower` to `upper`."""

    form: Form
    request_id: bytes
    lower: int
    """Unix seconds, inclusive."""
    upper: int
    """Unix seconds, inclusive; 0 as it was sent, see `resolved_upper`."""
    bloom: bytes
    """64 bytes; or none, and then there are topics."""
    topics: tuple[bytes, ...]
    """4 bytes each, none twice; they win over the bloom, unless there are none."""
    limit: int
    """Envelopes, from 1 to the policy's max_limit."""
    cursor: bytes
    """Where the page begins: CURSOR_SIZE bytes, or none for the first page."""
    batch: bool
    """Whether several envelopes may travel in one packet."""

    @property
    def dialect(self) -> Dialect:
        """How the completion is to be written."""
        return self.form.dialect

    def resolved_upper(self, now: int) -> int:
        """The upper end in Unix seconds; UPPER_MARGIN after `now` where none was named."""
        return self.upper or min(now + UPPER_MARGIN, MAX_TIME)


class RequestError(WakumailError):
    """A request for history that is refused; the text goes to the peer (8/WAKU-MAIL).

    `request_id` (32 bytes) and `dialect` say how to answer it; empty and None until known.
    """

    counter = "request_invalid"

    def __init__(self, text: str, request_id: bytes = b"", dialect: Dialect | None = None) -> None:
        super().__init__(text)
        self.request_id = request_id
        self.dialect = dialect


class RequestFormError(RequestError):
    """A packet, or the payload of its envelope, that is a request of no form."""

    counter = "request_malformed"


class RequestSealError(RequestError):
    """An envelope that none of our keys opens."""

    counter = "request_unopened"


class RequestSignatureError(RequestError):
    """Not signed, where a signature is required."""

    counter = "request_unsigned"


class RequestPowError(RequestError):
    """An envelope with less PoW than is required."""

    counter = "request_pow_low"


class RequestRangeError(RequestError):
    """A lower time after the upper one."""

    counter = "request_range_inverted"


class RequestBloomError(RequestError):
    """A bloom of neither 0 nor 64 bytes."""

    counter = "request_bloom_invalid"


class RequestFilterError(RequestError):
    """Neither topics nor a bloom."""

    counter = "request_filter_missing"


class RequestTopicsError(RequestError):
    """More than MAX_REQUEST_TOPICS topics."""

    counter = "request_topics_too_many"


class RequestCursorError(RequestError):
    """A cursor that is none of ours."""

    counter = "request_cursor_invalid"
