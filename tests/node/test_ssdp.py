"""The search for a router, answered by sockets of the test (UPnP Device Architecture 1.1, 1.3)."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.patience import PATIENCE, asynchronous, eventually, turns
from wakumail.base.tasks import end_tasks
from wakumail.node import ssdp
from wakumail.node.gateway import GatewayError
from wakumail.node.ssdp import MAX_ANSWER, find_router, location_of

HERE = "http://127.0.0.1:5000/rootDesc.xml"


def answer(location: str, filling: int = 0) -> bytes:
    """As miniupnpd answers; `filling` are bytes more."""
    return (
        "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\n"
        "ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
        "USN: uuid:1::urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nEXT:\r\n"
        f"SERVER: {'x' * filling}\r\nLOCATION: {location}\r\n\r\n"
    ).encode("utf-8", "surrogateescape")


@asynccontextmanager
async def network(*answers: bytes) -> AsyncIterator[tuple[list[bytes], tuple[str, int]]]:
    """A host that answers each search; the searches so far, and the address to search at."""
    searches: list[bytes] = []
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("127.0.0.1", 0))
        own.setblocking(False)

        def serve() -> None:
            search, caller = own.recvfrom(2000)
            searches.append(search)
            for each in answers:
                own.sendto(each, caller)

        loop.add_reader(own, serve)
        try:
            yield searches, own.getsockname()
        finally:
            loop.remove_reader(own)


NO_ANSWERS = (
    *(b"", b"\n", b"\0" * MAX_ANSWER, b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\n\r\n"),
    answer(HERE).replace(b"200 OK", b"404 Not Found"),
    answer(HERE).replace(b"HTTP/1.1 200 OK", b"NOTIFY * HTTP/1.1"),
    answer(HERE, filling=MAX_ANSWER),
    answer(HERE, filling=60_000),
    *map(
        answer,
        (
            *(
                "",
                "x",
                "/rootDesc.xml",
                "http://",
                "http://[::1",
                "\udcff\udcfe",
                "file:///etc/passwd",
            ),
            *("https://127.0.0.1/", "http://127.0.0.1:99999/", "http://127.0.0.1:0/"),
            *("http://127.0.0.2/", "http://localhost/", "http://10.0.0.1/", "http://[::1]/"),
            *("http://127.0.0.1@10.0.0.1/", "http://127.0.0.1.example.org/"),
        ),
    ),
)


@asynchronous
async def test_the_router_is_the_first_that_tells_its_own_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ssdp, "SEARCH_TIME", PATIENCE)
    async with network(*NO_ANSWERS, answer(HERE)) as (searches, group):
        assert await find_router(group) == HERE
    assert searches[0].startswith(b"M-SEARCH * HTTP/1.1\r\n")
    assert b"\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n" in searches[0]


def test_an_answer_leads_to_its_sender_only() -> None:
    for each in NO_ANSWERS:
        assert location_of(each, "127.0.0.1") == "", each[:300]
    assert location_of(answer(HERE), "192.168.1.1") == "", "our own services"
    assert location_of(answer("http://192.168.1.1/"), "192.168.1.1") == "http://192.168.1.1/"


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_are_read(head: bytes, tail: bytes) -> None:
    for each in (head + tail, b"HTTP/1.1 200 OK\r\n" + head + b"LOCATION: http://" + tail):
        location_of(each, "192.168.1.1")


@asynchronous
async def test_a_flood_of_answers_is_read_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[bytes] = []

    def look(answer: bytes, _host: str) -> str:
        looked_at.append(answer)
        return ""

    monkeypatch.setattr(ssdp, "SEARCH_TIME", PATIENCE)
    monkeypatch.setattr(ssdp, "MAX_ANSWERS", 8)
    monkeypatch.setattr(ssdp, "location_of", look)
    async with network(*[b"x"] * 16) as (_, group):
        searching = asyncio.get_running_loop().create_task(find_router(group))
        await eventually(lambda: len(looked_at) == 8)
        await turns(50)
        assert len(looked_at) == 8
        await end_tasks([searching])


@asynchronous
async def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssdp, "SEARCH_TIME", 0)
    async with network() as (_, group):
        with pytest.raises(GatewayError, match="no router answers"):
            await find_router(group)
