"""Answers of the store, read from the archive: the same pages as requests over the wire."""

from base64 import b64encode
from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from wakumail.archive.archive import POSITION_SIZE, Page, PageState, Query
from wakumail.archive.page_reader import PageReader
from wakumail.base.rlp import join_list
from wakumail.rpc.rest.store_cursor import PLACE_SIZE, make_cursor, read_cursor
from wakumail.rpc.rest.store_query import ParameterError, StoreQuery
from wakumail.waku.envelope import Envelope, parse
from wakumail.waku.waku2_message import (
    NANOSECONDS,
    PUBSUB_TOPIC,
    SEALED_VERSION,
    content_topic,
    envelope_message_hash,
)

MAX_SLICES = 20
"""Slices of the archive, of 50,000 index entries each, that are looked at for a page, and as many
for a search."""

SEARCH_PAGE = 500
"""Envelopes of a slice that are hashed before others have their turn: 1 ms."""

PAGE_BYTES = 1 << 20
"""Bytes of the envelopes of a page, and of a slice of a search: JSON of them takes 10 ms."""

MAX_REMEMBERED = 1 << 15
"""Messages whose places are remembered, of those that were told last: 9 MiB."""


class SearchTooWide(ParameterError):
    """Messages were not found by their hashes in as much as one request may search."""

    counter = "rest_searches_too_wide"


class StoreAnswer(NamedTuple):
    """The messages of a page, the oldest first, and the cursor of the next page, or empty."""

    messages: list[Envelope]
    cursor: bytes


class StoreReader:
    """Answers queries of the store from an archive.

    The archive has no index by the hashes of messages. The places of those that were told last are
    remembered, so that a client can ask for what it was told of. Others are looked for in the times
    and topics of the query, from the newest envelope on.
    """

    def __init__(self, pages: PageReader) -> None:
        self._pages = pages
        self._told: OrderedDict[bytes, bytes] = OrderedDict()
        """By hash, position and topic."""

    async def answer(self, query: StoreQuery) -> StoreAnswer:
        """The page that a query asks for. ArchiveError; SearchTooWide."""
        if query.is_empty:
            return StoreAnswer([], b"")
        position = read_cursor(query.cursor) or b""
        names = set(query.hashes)
        by_hash = bool(query.cursor) and not position
        found = await self._search(query, names | {query.cursor} if by_hash else names)
        if by_hash:
            if query.cursor not in found:
                raise ParameterError("cursor: no message of this query has this hash")
            position = found[query.cursor]
        if query.hashes:
            items = [found[name] for name in query.hashes if name in found]
            return await self._named(query, items, position)
        terms = Query(
            query.lower, query.upper, topics=query.topics, newest_first=not query.ascending
        )
        page = await self._read(terms, position, query.page_size)
        messages = list(parse(page.packet))
        if not query.ascending:
            messages.reverse()
        more = page.state is not PageState.EXHAUSTED
        return StoreAnswer(messages, make_cursor(page.position) if more else b"")

    def tell(self, answer: StoreAnswer, *, include_data: bool) -> dict[str, Any]:
        """An answer as nwaku's JSON; its messages are remembered."""
        told: list[dict[str, Any]] = []
        for envelope in answer.messages:
            name = envelope_message_hash(envelope)
            self._remember(name, envelope)
            entry: dict[str, Any] = {"messageHash": f"0x{name.hex()}"}
            if include_data:
                entry["message"] = message_object(envelope)
                entry["pubsubTopic"] = PUBSUB_TOPIC
            told.append(entry)
        result = {"requestId": "", "statusCode": 200, "statusDesc": "OK", "messages": told}
        if answer.cursor:
            result["paginationCursor"] = f"0x{answer.cursor.hex()}"
        return result

    async def _read(self, terms: Query, position: bytes, limit: int) -> Page:
        """The next page that has an envelope or is the last, or what MAX_SLICES have passed."""
        for _ in range(MAX_SLICES):
            page = await self._pages.read(terms, position, limit=limit, max_bytes=PAGE_BYTES)
            position = page.position
            if page.count or page.state is not PageState.PAUSED:
                break
        return page

    def _remember(self, name: bytes, envelope: Envelope) -> None:
        self._told[name] = position_of(envelope) + envelope.topic
        self._told.move_to_end(name)
        if len(self._told) > MAX_REMEMBERED:
            self._told.popitem(last=False)

    # -- messages by their hashes -------------------------------------------------------------

    async def _named(
        self, query: StoreQuery, found: Iterable[bytes], position: bytes
    ) -> StoreAnswer:
        """The page behind a position of the messages whose positions were found."""
        place = position[:PLACE_SIZE]
        if query.ascending:
            items = sorted(item for item in found if item[:PLACE_SIZE] > place)
        else:
            items = [item for item in found if not place or item[:PLACE_SIZE] < place]
            items.sort(reverse=True)
        asked = b"".join(items[: query.page_size])
        if not asked:
            return StoreAnswer([], b"")
        page = await self._pages.fetch(asked, max_bytes=PAGE_BYTES)
        messages = list(parse(join_list([page.joined])))
        if not query.ascending:
            messages.reverse()
        more = page.taken < len(items)
        return StoreAnswer(messages, make_cursor(items[page.taken - 1]) if more else b"")

    async def _search(self, query: StoreQuery, names: Collection[bytes]) -> dict[bytes, bytes]:
        """The positions of the messages that the query selects, by their hashes; SearchTooWide."""
        told = {name: self._told[name] for name in names if name in self._told}
        found = {n: place[:POSITION_SIZE] for n, place in told.items() if selects(query, place)}
        wanted = set(names) - told.keys()
        terms = Query(query.lower, query.upper, topics=query.topics)
        position = b""
        slices = MAX_SLICES
        while wanted:
            if not slices:
                raise SearchTooWide(
                    "a message was not found by its hash among the newest of this query: name"
                    " startTime, endTime or contentTopics that hold fewer"
                )
            slices -= 1
            page = await self._pages.read(terms, position, limit=SEARCH_PAGE, max_bytes=PAGE_BYTES)
            for envelope in parse(page.packet):
                name = envelope_message_hash(envelope)
                if name in wanted:
                    wanted.discard(name)
                    found[name] = position_of(envelope)
            if page.state is PageState.EXHAUSTED:
                break
            position = page.position
        return found


def selects(query: StoreQuery, told: bytes) -> bool:
    """True if the times and topics of a query have a message that was told at this place."""
    created, topic = int.from_bytes(told[:4], "big"), told[POSITION_SIZE:]
    return query.lower <= created <= query.upper and topic in (query.topics or {topic})


def position_of(envelope: Envelope) -> bytes:
    """The position of an envelope in the order of the archive."""
    return envelope.created.to_bytes(4, "big") + envelope.hash


def message_object(envelope: Envelope) -> dict[str, Any]:
    """The message of an envelope, with nwaku's names; the payload in Base64."""
    return {
        "payload": b64encode(envelope.data).decode(),
        "contentTopic": content_topic(envelope.topic),
        "version": SEALED_VERSION,
        "timestamp": envelope.created * NANOSECONDS,
        "ephemeral": False,
    }
