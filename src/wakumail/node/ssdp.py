"""SSDP: finds a router in the local network (UPnP Device Architecture 1.1, section 1.3).

The UPnP library has a search too. It keeps hundreds of answers of any size for ever, and believes
them whatever they name.
"""

import asyncio
import socket
from urllib.parse import urlsplit

from wakumail.node.gateway import GatewayError

GROUP = ("239.255.255.250", 1900)
"""The address at which everybody hears the search (section 1.1)."""

ROUTERS = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
"""Routers of version 2 answer to it too."""

SEARCH_TIME = 3
"""Seconds that a router has to answer the search."""

HOPS = 2
"""Networks that the search may cross (section 1.1)."""

MAX_ANSWER = 2048
"""Bytes of an answer to the search; routers have some 400."""

MAX_ANSWERS = 256
"""Answers to one search that are looked at."""


async def find_router(group: tuple[str, int] = GROUP) -> str:
    """The URL of the description of the first router that answers. GatewayError, OSError."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[str] = loop.create_future()
    left = MAX_ANSWERS
    search = (
        f"M-SEARCH * HTTP/1.1\r\nHOST: {group[0]}:{group[1]}\r\n"
        f'MAN: "ssdp:discover"\r\nMX: {SEARCH_TIME}\r\nST: {ROUTERS}\r\n\r\n'
    )

    def read() -> None:
        nonlocal left
        try:
            answer, (host, _) = own.recvfrom(MAX_ANSWER + 1)
        except OSError:
            return  # nothing to read, or the network tells that a host has no such port
        left -= 1
        location = location_of(answer, host)
        if location and not found.done():
            found.set_result(location)
        if not left:
            loop.remove_reader(own)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.setblocking(False)
        own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, HOPS)
        own.sendto(search.encode(), group)
        loop.add_reader(own, read)
        try:
            async with asyncio.timeout(SEARCH_TIME):
                return await found
        except TimeoutError:
            raise GatewayError("no router answers") from None
        finally:
            loop.remove_reader(own)


def location_of(answer: bytes, host: str) -> str:
    """The URL in an answer from `host`; "" unless it is one of that host.

    So an answer sends us to nobody else, and not to our own services.
    """
    from email.parser import BytesHeaderParser  # most servers search no router

    status, _, fields = answer.partition(b"\n")
    if len(answer) > MAX_ANSWER or not status.startswith(b"HTTP/1.1 200"):
        return ""
    location = str(BytesHeaderParser().parsebytes(fields)["location"]).strip()
    try:
        url = urlsplit(location)
        is_of_host = url.scheme == "http" and url.hostname == host and url.port != 0
    except ValueError:
        return ""
    return location if is_of_host else ""
