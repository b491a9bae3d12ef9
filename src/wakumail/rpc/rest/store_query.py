"""A query of the store: the parameters of GET /store/v3/messages, checked.

Names and meanings are those of nwaku's REST API (13/WAKU2-STORE). A parameter without a value
counts as absent, as there. What nwaku ignores is refused here: an unknown name, as `contentTopic`
for `contentTopics` would widen a query to the whole archive, and a parameter that is given twice.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from wakumail.errors import WakumailError
from wakumail.mail.request import MAX_REQUEST_TOPICS
from wakumail.waku.envelope import MAX_TIME
from wakumail.waku.waku2_message import NANOSECONDS, PUBSUB_TOPIC, read_content_topic

T = TypeVar("T")

DEFAULT_PAGE_SIZE = 20
"""Messages on a page that names no size; nwaku has the same number."""

MAX_PAGE_SIZE = 100
"""Most messages on a page; a larger size is lowered to it, as nwaku does."""

MAX_HASHES = 100
"""Most hashes in one request."""

MAX_TIMESTAMP = (1 << 63) - 1
"""Nanoseconds: a timestamp is a signed number of 64 bits."""

HASH = re.compile(r"(?:0[xX])?([0-9a-fA-F]{64})")

WORDS = {"true": True, "yes": True, "y": True, "on": True, "1": True}
WORDS |= {"false": False, "no": False, "n": False, "off": False, "0": False}
"""The words for true and false, those of Nim's parseBool."""


class ParameterError(WakumailError):
    """A request for history over HTTP has a wrong parameter."""

    counter = "rest_parameters_wrong"


@dataclass(frozen=True, slots=True)
class StoreQuery:
    """The wishes of a request."""

    lower: int = 0
    """Creation times, Unix seconds, both inclusive; none lie between if it is above `upper`."""
    upper: int = MAX_TIME
    topics: frozenset[bytes] | None = None
    """None for all."""
    hashes: tuple[bytes, ...] = ()
    """Hashes of messages, distinct; if there are any, only these are wanted."""
    cursor: bytes = b""
    """32 bytes, or empty for the first page."""
    page_size: int = DEFAULT_PAGE_SIZE
    ascending: bool = True
    include_data: bool = False

    @property
    def is_empty(self) -> bool:
        """True if nothing can match it."""
        return self.lower > self.upper or self.topics == frozenset()


def read_query(parameters: Iterable[tuple[str, str]]) -> StoreQuery:
    """The query that names and values, decoded, make; ParameterError."""
    given: dict[str, str] = {}
    for name, value in parameters:
        if name not in NAMES:
            raise ParameterError(f"{name[:40]!r} is no parameter; these are: {', '.join(NAMES)}")
        if name in given:
            raise ParameterError(f"{name} is given twice; a list is separated by commas")
        given[name] = value

    def value_of(name: str, read: Callable[[str], T], default: T) -> T:
        try:
            return read(text) if (text := given.get(name, "")) else default
        except ValueError as error:
            raise ParameterError(f"{name}: {error}") from None

    value_of("peerAddr", refuse_peer, None)
    topics = value_of("contentTopics", read_topics, None)
    if value_of("pubsubTopic", str, PUBSUB_TOPIC) != PUBSUB_TOPIC:
        topics = frozenset()
    start, end = value_of("startTime", read_number, 0), value_of("endTime", read_number, 0)
    return StoreQuery(
        lower=min(-(-start // NANOSECONDS), MAX_TIME + 1),
        upper=min(end // NANOSECONDS, MAX_TIME) if end else MAX_TIME,
        topics=topics,
        hashes=value_of("hashes", read_hashes, ()),
        cursor=value_of("cursor", read_hash, b""),
        page_size=value_of("pageSize", read_page_size, DEFAULT_PAGE_SIZE),
        ascending=value_of("ascending", read_flag, True),
        include_data=value_of("includeData", read_flag, False),
    )


def refuse_peer(text: str) -> None:
    """Refuse to ask another node: ValueError."""
    raise ValueError("this server tells its own history, and asks no other node")


def read_number(text: str) -> int:
    """A number that is not negative; ValueError."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_TIMESTAMP))):
        raise ValueError(f"{text[:40]!r} is no number from 0 to {MAX_TIMESTAMP}")
    number = int(text)
    if number > MAX_TIMESTAMP:
        raise ValueError(f"{number} is more than {MAX_TIMESTAMP}")
    return number


def read_page_size(text: str) -> int:
    """The size of a page; 0 stands for the default. ValueError."""
    return min(read_number(text) or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def read_flag(text: str) -> bool:
    """True or false; ValueError."""
    try:
        return WORDS[text.lower()]
    except KeyError:
        raise ValueError(f"{text[:40]!r} is neither true nor false") from None


def read_hash(text: str) -> bytes:
    """A hash of 32 bytes; ValueError."""
    found = HASH.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:80]!r} is no hash of 0x and 64 hexadecimal digits")
    return bytes.fromhex(found[1])


def read_hashes(text: str) -> tuple[bytes, ...]:
    """Hashes, separated by commas; ValueError."""
    hashes = tuple(dict.fromkeys(map(read_hash, text.split(","))))
    if len(hashes) > MAX_HASHES:
        raise ValueError(f"{len(hashes)} hashes are more than {MAX_HASHES}")
    return hashes


def read_topics(text: str) -> frozenset[bytes]:
    """The topics that content topics, separated by commas, stand for; ValueError."""
    texts = text.split(",")
    if len(texts) > MAX_REQUEST_TOPICS:
        raise ValueError(f"{len(texts)} content topics are more than {MAX_REQUEST_TOPICS}")
    read = map(read_content_topic, texts)
    return frozenset(topic for topic in read if topic is not None)


NAMES = (
    *("peerAddr", "pubsubTopic", "contentTopics", "startTime", "endTime"),
    *("hashes", "cursor", "ascending", "pageSize", "includeData"),
)
"""The parameters of nwaku."""
