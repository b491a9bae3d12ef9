"""HTTP requests to a router, for the UPnP library, whose own requester has no bounds.

Anybody in the local network can play a router, and the library reads an answer in one step of the
loop.
"""

from contextlib import suppress
from typing import Any
from xml.parsers import expat

from wakumail.base.transports import read_up_to
from wakumail.node.gateway import GatewayError

MAX_ANSWER = 64 << 10
"""Bytes of an answer; linux-igd describes its connection in 12 KiB."""

MAX_ELEMENTS = 1500
"""XML elements in an answer. The library's work grows with their square; linux-igd describes its
connection with some 300."""

MAX_SERVICES = 32
"""Services in an answer. The library asks for a description of each, and warns of those on other
hosts; linux-igd has 3."""

MAX_DEPTH = 24
"""Levels of XML elements; the library calls itself for each device in a device."""

ANSWER_TIME = 5.0
"""Seconds that an answer may take."""


class RouterRequester:
    """Sends the requests of the UPnP library to a router."""

    async def async_http_request(self, http_request: Any) -> Any:
        """The library's HttpResponse to its HttpRequest. GatewayError, or an error of aiohttp."""
        from aiohttp import ClientSession, ClientTimeout
        from async_upnp_client.const import HttpResponse

        # Nothing compressed, and no way to other hosts.
        headers = {"Accept-Encoding": "identity", **http_request.headers}
        async with (
            ClientSession(
                timeout=ClientTimeout(total=ANSWER_TIME), auto_decompress=False
            ) as session,
            session.request(
                http_request.method,
                http_request.url,
                headers=headers,
                data=http_request.body,
                allow_redirects=False,
            ) as response,
        ):
            body = await read_up_to(response.content.iter_any(), MAX_ANSWER)
            if len(body) > MAX_ANSWER:
                raise GatewayError(f"the router answers with more than {MAX_ANSWER:,} bytes")
            # The charset is a stranger's word: Python has codecs that take a second for 64 KiB.
            text = body.decode("utf-8", "replace").strip(" \t\r\n\0")
            check_shape(text)
            return HttpResponse(response.status, response.headers, text)


def check_shape(text: str) -> None:
    """Refuse an answer that the library should not read: GatewayError.

    It has too many services, too many or too deep XML elements, or entities. Namespaces do not
    count, for the library reads an answer without them if it cannot be read with them. A text that
    is no XML passes; the library refuses it.
    """
    shape = _Shape()
    parser = expat.ParserCreate()
    parser.StartElementHandler = shape.start
    parser.EndElementHandler = shape.end
    parser.EntityDeclHandler = shape.define
    with suppress(expat.ExpatError):
        parser.Parse(text, True)


class _Shape:
    """Counts the elements and services of an answer, and looks how deep they lie."""

    def __init__(self) -> None:
        self._elements = 0
        self._services = 0
        self._depth = 0

    def start(self, tag: str, _attributes: dict[str, str]) -> None:
        """An element begins."""
        self._elements += 1
        self._depth += 1
        if self._elements > MAX_ELEMENTS or self._depth > MAX_DEPTH:
            raise GatewayError("the router's answer has too many or too deep XML elements")
        self._services += tag.rpartition(":")[2] == "service"
        if self._services > MAX_SERVICES:
            raise GatewayError("the router has too many services")

    def end(self, _tag: str) -> None:
        """An element ends."""
        self._depth -= 1

    def define(self, *_entity: Any) -> None:
        """An entity is defined."""
        raise GatewayError("the router's answer defines XML entities")
