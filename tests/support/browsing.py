"""An archive in pages, and a reader of them that shares no code with their maker."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin

import aiohttp

from tests.support.archive_model import batch_of
from wakumail.archive.archive import Archive
from wakumail.ops.browse.archive_reading import ArchiveReading
from wakumail.ops.browse.browse_site import BrowseSite
from wakumail.waku.envelope import Envelope

VOID = {"meta", "link", "input"}


class Reader(HTMLParser):
    """Reads a page: its words, its links, its elements; an element that is not closed is wrong."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.links: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src") and value]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append(data)

    def facts(self) -> dict[str, str]:
        """The names and values of the list of facts, where each is one piece of text."""
        names = [number for number, (tag, _) in enumerate(self.attributes) if tag == "dt"]
        start = self.words.index("created")
        return dict(zip(*[iter(self.words[start : start + 2 * len(names)])] * 2, strict=True))


class BrowsedPage(NamedTuple):
    url: str
    status: int
    headers: dict[str, str]
    text: str

    @property
    def read(self) -> Reader:
        return Reader(self.text)


class Browsed:
    """A site with an archive, and a client."""

    def __init__(self, url: str, archive: Archive, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.archive = archive
        self._session = session

    async def get(self, path: str, base: str = "") -> BrowsedPage:
        url = urljoin(base or self.url, path)
        async with self._session.get(url) as answer:
            return BrowsedPage(
                str(answer.url), answer.status, dict(answer.headers), await answer.text()
            )

    async def listed(self, path: str) -> list[str]:
        """The items of all pages that a list of envelopes has, as its links lead on."""
        items: list[str] = []
        page = await self.get(path)
        while True:
            read = page.read
            items += [link.rpartition("/")[2] for link in read.links if "/envelope/" in link]
            further = [link for link in read.links if "&after=" in link]
            if not further:
                return items
            page = await self.get(further[-1], page.url)


@asynccontextmanager
async def browsed(path: Path, envelopes: Sequence[Envelope]) -> AsyncIterator[Browsed]:
    """The pages of an archive with these envelopes."""
    with Archive(path, sync=False) as archive:
        if envelopes:
            archive.append([batch_of(envelopes)])
        site = BrowseSite(ArchiveReading(archive))
        url = await site.start(0)
        try:
            async with aiohttp.ClientSession() as session:
                yield Browsed(url, archive, session)
        finally:
            await site.close()
