"""Days, topics and envelopes of an archive, read for a page. Every reading is bounded."""

from collections.abc import Collection
from typing import NamedTuple

from wakumail.archive.archive import POSITION_SIZE, Archive, Page, PageState, Query
from wakumail.base.rlp import join_list
from wakumail.rpc.rest.store_cursor import PLACE_SIZE
from wakumail.waku.envelope import MAX_TIME, Envelope, parse

DAY = 86400
MAX_TOPICS = 200
"""Topics of a day on its page, those with the most envelopes."""

PAGE_SIZE = 50
"""Envelopes on a page."""

PAGE_BYTES = 4 << 20
"""Bytes of envelopes that are read for a page."""

PAGE_SLICES = 20
"""Slices of 50,000 index entries that are looked at for a page."""


class Listing(NamedTuple):
    """Envelopes of a page, the newest first, and the place behind them; empty at the end."""

    envelopes: list[Envelope]
    place: bytes


class ArchiveReading:
    """Reads an archive. ArchiveError from every method."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive

    def listing(
        self, topics: Collection[bytes] | None, day: int | None, place: bytes = b""
    ) -> Listing:
        """A page of envelopes of some topics (None: all) and of the day that begins at `day`.

        `place`: the 20 bytes behind which it begins.
        """
        lower, upper = (0, MAX_TIME) if day is None else (day, min(day + DAY - 1, MAX_TIME))
        query = Query(lower, upper, topics=topics)
        page = self._page(query, place.ljust(POSITION_SIZE, b"\0") if place else b"")
        more = page.state is not PageState.EXHAUSTED
        return Listing(list(parse(page.packet)), page.position[:PLACE_SIZE] if more else b"")

    def _page(self, query: Query, position: bytes) -> Page:
        for _ in range(PAGE_SLICES):
            page = self.archive.page_job(
                query, position, limit=PAGE_SIZE, max_bytes=PAGE_BYTES
            ).do()
            position = page.position
            if page.count or page.state is not PageState.PAUSED:
                break
        return page

    def envelope(self, item: bytes) -> Envelope | None:
        """The envelope of an item (creation time u32, hash); None if it is not stored."""
        fetched = self.archive.envelopes(item, max_bytes=PAGE_BYTES)
        return next(iter(parse(join_list([fetched.joined]))), None)
