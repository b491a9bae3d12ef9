"""Queries of the store, page by page, against a model of the archive."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.archive_model import DAY, START, Model, Terms, batch_of, make, order
from wakumail.archive.archive import Archive, Fetched, Page, Query
from wakumail.rpc.rest import store_reader
from wakumail.rpc.rest.store_query import StoreQuery
from wakumail.rpc.rest.store_reader import StoreReader
from wakumail.waku.envelope import Envelope
from wakumail.waku.waku2_message import envelope_message_hash

STORED = make(300, spread=2 * DAY, size=60)
TOPICS = sorted({each.topic for each in STORED})
TIMES = st.integers(START - 100, START + 2 * DAY + 100)


class DirectPages:
    """Reads pages on the loop; every second slice looks at few entries."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._number = 0

    async def read(self, query: Query, position: bytes, *, limit: int, max_bytes: int) -> Page:
        self._number += 1
        budget = 7 if self._number % 2 else 50_000
        job = self._archive.page_job(
            query, position, limit=limit, max_bytes=max_bytes, budget=budget
        )
        return job.do()

    async def fetch(self, items: bytes, *, max_bytes: int) -> Fetched:
        return self._archive.envelopes(items, max_bytes=max_bytes)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """An archive whose pages are small."""
    path: Path = tmp_path_factory.mktemp("archive")
    with Archive(path, sync=False) as archive:
        archive.append([batch_of(STORED)])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store_reader, "PAGE_BYTES", 3000)
            yield archive


def pages_of(archive: Archive, **asked: Any) -> list[list[Envelope]]:
    """All pages of a query; one of some bytes has an envelope or more."""

    async def read() -> list[list[Envelope]]:
        reader = StoreReader(DirectPages(archive))  # type: ignore[arg-type]
        pages = []
        cursor = asked.pop("cursor", b"")
        while True:
            answer = await reader.answer(StoreQuery(**asked, cursor=cursor))
            pages.append(answer.messages)
            if not answer.cursor:
                return pages
            assert answer.cursor != cursor
            cursor = answer.cursor

    return asyncio.run(read())


@settings(max_examples=150)
@given(
    st.tuples(TIMES, TIMES),
    st.none() | st.frozensets(st.sampled_from([*TOPICS, b"none"])),
    st.integers(1, 100),
    st.booleans(),
)
def test_the_pages_of_a_query(
    archive: Archive,
    times: tuple[int, int],
    topics: frozenset[bytes] | None,
    page_size: int,
    ascending: bool,
) -> None:
    lower, upper = times
    model = Model()
    model.append(STORED)
    wanted = model.answer(Terms(lower, upper, topics, newest_first=not ascending))
    pages = pages_of(
        archive,
        lower=lower,
        upper=upper,
        topics=topics,
        page_size=page_size,
        ascending=ascending,
    )
    assert all(len(page) <= page_size for page in pages)
    assert all(page == sorted(page, key=order) for page in pages)
    turned = pages if ascending else [page[::-1] for page in pages]
    assert [each for page in turned for each in page] == wanted


@settings(max_examples=60)
@given(
    st.frozensets(st.sampled_from(STORED), min_size=1, max_size=20),
    st.integers(1, 30),
    st.booleans(),
    st.none() | st.sampled_from(STORED),
)
def test_messages_by_their_hashes(
    archive: Archive,
    named: frozenset[Envelope],
    page_size: int,
    ascending: bool,
    start: Envelope | None,
) -> None:
    """From the first one on, or behind a message whose hash is the cursor."""
    pages = pages_of(
        archive,
        hashes=(*map(envelope_message_hash, named), b"\0" * 32),
        page_size=page_size,
        ascending=ascending,
        cursor=b"" if start is None else envelope_message_hash(start),
    )
    wanted = sorted(named, key=order, reverse=not ascending)
    if start is not None and ascending:
        wanted = [each for each in wanted if order(each) > order(start)]
    elif start is not None:
        wanted = [each for each in wanted if order(each) < order(start)]
    turned = pages if ascending else [page[::-1] for page in pages]
    assert [each for page in turned for each in page] == wanted
