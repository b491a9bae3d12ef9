"""The pages of an archive on a loopback address, below a path that only the operator is told.

The path has a secret, so that neither other users of the machine nor pages of other sites can ask.
No page has content of others: scripts and styles come from here, and nothing is sent anywhere else
(Content-Security-Policy). The server is sent no key: the script opens messages in the browser.
"""

import asyncio
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from wakumail.archive.archive import POSITION_SIZE
from wakumail.counters import Counters
from wakumail.errors import ArchiveError
from wakumail.ops.browse import archive_pages
from wakumail.ops.browse.archive_reading import DAY, MAX_TOPICS, ArchiveReading
from wakumail.ops.markup import Markup
from wakumail.rpc.bounded_server import BoundedServer
from wakumail.rpc.rest.store_cursor import PLACE_SIZE
from wakumail.rpc.stream import MAX_SESSIONS
from wakumail.waku.envelope import TOPIC_SIZE
from wakumail.waku.topics import public_chat_topic

HOST = "127.0.0.1"

SECRET_BYTES = 16

FOLDER = Path(__file__).parent
FILES = {
    "page.css": (FOLDER.parent / "monitoring" / "static" / "page.css", "text/css"),
    "style.css": (FOLDER / "style.css", "text/css"),
    "open.js": (FOLDER / "open.js", "text/javascript"),
}
"""The files that the pages use, with the style sheet of the operator's page."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class NotThere(Exception):
    """There is no such page; the text says why."""


class BrowseSite:
    """Serves the pages of one archive."""

    def __init__(self, reading: ArchiveReading) -> None:
        self.root = f"/{secrets.token_urlsafe(SECRET_BYTES)}/"
        """The path of the first page."""
        self._reading = reading
        self._pages: Mapping[str, Callable[[str, Mapping[str, str]], Markup]] = {
            "": self._days,
            "day": self._day,
            "topic": self._topic,
            "envelope": self._envelope,
        }
        self._server = BoundedServer(self._handle, Counters(), MAX_SESSIONS)

    async def start(self, port: int) -> str:
        """Listen; returns the address of the first page. OSError if the port is taken."""
        host, port = await self._server.start(HOST, port)
        return f"http://{host}:{port}{self.root}"

    async def close(self) -> None:
        """Stop."""
        await self._server.close()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        answer = await self._answer(request)
        answer.headers.update(HEADERS)
        return answer

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        path = request.path.removeprefix(self.root)
        if path == request.path:
            return web.Response(status=404, text="there is nothing here\n")
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        if path in FILES:
            file, kind = FILES[path]
            return web.Response(text=file.read_text(), content_type=kind)
        try:
            if path == "find":
                to = f"topic/{find_topic(request.query.get('topic', '')).hex()}"
                return web.Response(status=303, headers={"Location": to})
            kind, _, name = path.partition("/")
            if kind not in self._pages or "/" in name or path.startswith("/"):
                raise NotThere("There is no such page.")
            return html(await asyncio.to_thread(self._pages[kind], name, request.query))
        except (NotThere, ArchiveError) as error:
            status = 404 if isinstance(error, NotThere) else 503
            return html(archive_pages.error_page(status, str(error), self.root), status)

    # -- pages, made in a thread --------------------------------------------------------------

    def _days(self, name: str, query: Mapping[str, str]) -> Markup:
        archive = self._reading.archive
        return archive_pages.days_page(archive.stat(), archive.days())

    def _day(self, name: str, query: Mapping[str, str]) -> Markup:
        start = read_day(name)
        archive = self._reading.archive
        day = next((day for day in archive.days() if day.start == start), None)
        if day is None:
            raise NotThere("The archive has no envelopes of this day.")
        return archive_pages.day_page(day, archive.topics(start, MAX_TOPICS))

    def _topic(self, name: str, query: Mapping[str, str]) -> Markup:
        topic = None if name == "all" else read_hex(name, TOPIC_SIZE, "topic")
        day = read_day(text) if (text := query.get("day")) else None
        after = query.get("after", "")
        place = read_hex(after, PLACE_SIZE, "place") if after else b""
        listing = self._reading.listing(None if topic is None else [topic], day, place)
        return archive_pages.listing_page(topic, day, listing, continued=bool(place))

    def _envelope(self, name: str, query: Mapping[str, str]) -> Markup:
        envelope = self._reading.envelope(read_hex(name, POSITION_SIZE, "envelope"))
        if envelope is None:
            raise NotThere("The archive does not have this envelope; it may have been pruned.")
        return archive_pages.envelope_page(envelope)


def find_topic(text: str) -> bytes:
    """The topic that was typed in, or that of the chat whose name was; NotThere."""
    name = text.strip()
    if not name:
        raise NotThere("Give a topic, or the name of a chat.")
    digits = name.lower().removeprefix("0x")
    is_topic = re.fullmatch(r"[0-9a-f]{8}", digits)
    return bytes.fromhex(digits) if is_topic else public_chat_topic(name)


def html(page: Markup, status: int = 200) -> web.Response:
    """An answer with a page."""
    return web.Response(text=page, content_type="text/html", status=status)


def read_hex(text: str, size: int, noun: str) -> bytes:
    """Bytes from their hexadecimal digits; NotThere."""
    if not re.fullmatch(rf"[0-9a-f]{{{2 * size}}}", text):
        raise NotThere(f"This is no {noun} of {2 * size} hexadecimal digits.")
    return bytes.fromhex(text)


def read_day(text: str) -> int:
    """The beginning of a day, Unix seconds; NotThere."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise NotThere("This is no day like 2026-11-29.") from None
    start = int(day.timestamp())
    if not 0 <= start < 1 << 32 or start % DAY:
        raise NotThere("This day is not between 1970 and 2106.")
    return start
