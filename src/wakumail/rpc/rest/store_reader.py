"""Answers of the store, read from the archive: the same pages as requests over the wire."""

import asyncio
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from wakumail.archive.archive import Archive, Page, PageState, Query
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
"""Slices of the archive, of 50,000 index entries each, that one request may look at."""

MAX_SEARCHED = 10_000
"""Envelopes that are hashed to find messages by their hashes, for one request."""

SEARCH_PAGE = 100
"""Envelopes hashed before others have their turn: 0.2 ms."""

MAX_REMEMBERED = 1 << 15
"""Messages whose time and topic are remembered, of those that were told last: 9 MiB."""


class SearchTooWide(ParameterError):
    """Messages were not found by their hashes among as many envelopes as one request may search."""

    counter = "rest_searches_too_wide"


class StoreAnswer(NamedTuple):
    """The messages of a page, the oldest first, and the cursor of the next page, or empty."""

    messages: list[Envelope]
    cursor: bytes


class StoreReader:
    """Answers queries of the store from an archive.

    The archive has no index by the hashes of messages. Those that were told last are remembered
    with their time and topic, so that a client can ask for what it was told of. Others are looked
    for in the times and topics of the query, from the newest envelope on.
    """

    def __init__(self, archive: Archive, pages: PageReader, *, max_reply: int) -> None:
        """`max_reply` limits the bytes of the envelopes of a page."""
        self._archive = archive
        self._pages = pages
        self._max_reply = max_reply
        self._told: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()

    async def answer(self, query: StoreQuery) -> StoreAnswer:
        """The page that a query asks for. ArchiveError; SearchTooWide."""
        if query.is_empty:
            return StoreAnswer([], b"")
        position = b""
        if query.cursor:
            position = read_cursor(query.cursor) or await self._position_of(query)
        if query.hashes:
            return await self._named(query, position)
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
            page = await self._pages.read(terms, position, limit=limit, max_bytes=self._max_reply)
            position = page.position
            if page.count or page.state is not PageState.PAUSED:
                break
        return page

    def _remember(self, name: bytes, envelope: Envelope) -> None:
        self._told[name] = envelope.created, envelope.topic
        self._told.move_to_end(name)
        if len(self._told) > MAX_REMEMBERED:
            self._told.popitem(last=False)

    # -- messages by their hashes -------------------------------------------------------------

    async def _position_of(self, query: StoreQuery) -> bytes:
        """The position of the message whose hash is the cursor; ParameterError if there is none."""
        found = await self._search(query, {query.cursor})
        if not found:
            raise ParameterError("cursor: no message of this query has this hash")
        return found[0]

    async def _named(self, query: StoreQuery, position: bytes) -> StoreAnswer:
        """The page behind a position of the messages that the query names by their hashes."""
        found = await self._search(query, set(query.hashes))
        place = position[:PLACE_SIZE]
        if query.ascending:
            items = sorted(item for item in found if item[:PLACE_SIZE] > place)
        else:
            items = [item for item in found if not place or item[:PLACE_SIZE] < place]
            items.sort(reverse=True)
        asked = b"".join(items[: query.page_size])
        if not asked:
            return StoreAnswer([], b"")
        read = self._archive.envelopes
        page = await asyncio.to_thread(read, asked, max_bytes=self._max_reply)
        messages = list(parse(join_list([page.joined])))
        if not query.ascending:
            messages.reverse()
        more = page.taken < len(items)
        return StoreAnswer(messages, make_cursor(items[page.taken - 1]) if more else b"")

    async def _search(self, query: StoreQuery, wanted: set[bytes]) -> list[bytes]:
        """The positions of wanted messages that the query selects; SearchTooWide."""
        search = Search(wanted)
        for name in tuple(wanted):
            if (told := self._told.get(name)) is not None:
                created, topic = told
                if query.lower <= created <= query.upper and topic in (query.topics or {topic}):
                    await self._look_through(search, created, created, {topic}, name)
        if search.wanted:
            await self._look_through(search, query.lower, query.upper, query.topics)
        return search.found

    async def _look_through(
        self,
        search: "Search",
        lower: int,
        upper: int,
        topics: Collection[bytes] | None,
        name: bytes | None = None,
    ) -> None:
        """Look for what is wanted, or for `name` alone, in a range from its newest envelope on."""
        terms = Query(lower, upper, topics=topics)
        position = b""
        while search.wanted and (name is None or name in search.wanted):
            if search.left <= 0:
                raise SearchTooWide(
                    f"a message was not found by its hash among {MAX_SEARCHED} envelopes: name"
                    " startTime, endTime or contentTopics that hold fewer"
                )
            page = await self._read(terms, position, SEARCH_PAGE)
            search.take(parse(page.packet))
            if page.state is PageState.EXHAUSTED:
                return
            position = page.position


class Search:
    """A search for messages by their hashes."""

    def __init__(self, wanted: set[bytes]) -> None:
        self.wanted = wanted
        """Hashes of messages that are not found yet."""
        self.found: list[bytes] = []
        """Positions of those that are."""
        self.left = MAX_SEARCHED
        """Envelopes that may still be looked at."""

    def take(self, envelopes: Iterable[Envelope]) -> None:
        """Keep the positions of those that are wanted."""
        self.left -= 1  # a page without an envelope costs something too
        for envelope in envelopes:
            self.left -= 1
            name = envelope_message_hash(envelope)
            if name in self.wanted:
                self.wanted.discard(name)
                self.found.append(position_of(envelope))


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
