"""A router that speaks NAT-PMP, played by a socket (RFC 6886)."""

import asyncio
import ipaddress
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.patience import asynchronous, eventually
from wakumail.node import nat_pmp
from wakumail.node.gateway import LIFETIME, GatewayError, Transport
from wakumail.node.nat_pmp import NatPmp, default_router

ADDRESS = bytes([203, 0, 113, 7])

NOT_OURS = ("0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.1", "240.0.0.1", "255.255.255.255")


class Router:
    """Answers as a router does; `answer` may be replaced."""

    def __init__(self) -> None:
        self.mapped: dict[tuple[int, int], int] = {}
        self.requests: list[bytes] = []
        self.answer: Callable[[bytes], list[bytes]] = self.good_answer

    def good_answer(self, request: bytes) -> list[bytes]:
        if request[1] == 0:
            return [struct.pack(">BBHI", 0, 128, 0, 1) + ADDRESS]
        _, operation, _, port, wanted, life = struct.unpack(">BBHHHI", request)
        if life:
            self.mapped[operation, port] = wanted + 1
        else:
            self.mapped.pop((operation, port), None)
        external = self.mapped.get((operation, port), 0)
        return [struct.pack(">BBHIHHI", 0, 128 + operation, 0, 1, port, external, life)]


@asynccontextmanager
async def routing() -> AsyncIterator[tuple[Router, NatPmp]]:
    router = Router()
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("127.0.0.1", 0))
        own.setblocking(False)

        def serve() -> None:
            request, caller = own.recvfrom(100)
            router.requests.append(request)
            for answer in router.answer(request):
                own.sendto(answer, caller)

        loop.add_reader(own, serve)
        try:
            yield router, NatPmp("127.0.0.1", own.getsockname()[1])
        finally:
            loop.remove_reader(own)


@asynchronous
async def test_a_router_tells_our_address_and_passes_on_ports() -> None:
    async with routing() as (router, pmp):
        assert await pmp.external_ip() == "203.0.113.7"
        assert await pmp.map(Transport.TCP, 30303) == 30304
        assert await pmp.map(Transport.UDP, 30303) == 30304
        assert router.mapped == {(2, 30303): 30304, (1, 30303): 30304}
        await pmp.unmap(Transport.TCP, 30303)
        assert router.mapped == {(1, 30303): 30304}
    # The bytes of section 3.3.
    assert router.requests[1] == struct.pack(">BBHHHI", 0, 2, 0, 30303, 30303, LIFETIME)
    assert router.requests[3] == struct.pack(">BBHHHI", 0, 2, 0, 30303, 0, 0)


@asynchronous
async def test_a_router_that_refuses_says_why() -> None:
    async with routing() as (router, pmp):
        router.answer = lambda request: [struct.pack(">BBHI", 0, 128, 2, 1) + ADDRESS]
        with pytest.raises(GatewayError, match="it does not allow that"):
            await pmp.external_ip()
        router.answer = lambda request: [struct.pack(">BBHI", 0, 128, 77, 1)]
        with pytest.raises(GatewayError, match="error 77"):
            await pmp.external_ip()


@pytest.mark.parametrize("ip", NOT_OURS)
@asynchronous
async def test_an_address_that_no_host_has_is_none(ip: str) -> None:
    async with routing() as (router, pmp):
        packed = ipaddress.IPv4Address(ip).packed
        router.answer = lambda request: [struct.pack(">BBHI", 0, 128, 0, 1) + packed]
        with pytest.raises(GatewayError, match="no connection to the internet"):
            await pmp.external_ip()


@asynchronous
async def test_port_0_is_none() -> None:
    async with routing() as (router, pmp):
        router.answer = lambda request: [
            struct.pack(">BBHIHHI", 0, 128 + request[1], 0, 1, 30303, 0, LIFETIME)
        ]
        with pytest.raises(GatewayError, match="port 0"):
            await pmp.map(Transport.TCP, 30303)


@asynchronous
async def test_what_is_no_answer_is_passed_over() -> None:
    async with routing() as (router, pmp):
        junk = [b"", b"\x00", b"\x00\x81\x00\x00", b"\x01\x80\x00\x00", b"\x00\x80\x00\x00short"]
        router.answer = lambda request: [*junk, *router.good_answer(request)]
        assert await pmp.external_ip() == "203.0.113.7"


@asynchronous
async def test_a_router_that_is_silent_is_asked_again_and_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nat_pmp, "FIRST_WAIT", 0.01)
    async with routing() as (router, pmp):
        router.answer = lambda request: []
        with pytest.raises(GatewayError, match="does not answer"):
            await pmp.external_ip()
        await eventually(lambda: len(router.requests) == nat_pmp.TRIES)
    with pytest.raises(GatewayError, match="refused"):  # nobody is there
        await pmp.external_ip()


def test_the_default_router(tmp_path: Path) -> None:
    routes = tmp_path / "route"
    head = "Iface\tDestination\tGateway \tFlags\n"
    routes.write_text(f"{head}eth0\t000010AC\t00000000\t0001\neth0\t00000000\t010010AC\t0003\n")
    assert default_router(routes) == "172.16.0.1"
    for text in (head, "", f"{head}broken\n", f"{head}eth0\t00000000\tzz\t1\n"):
        routes.write_text(text)
        with pytest.raises(GatewayError, match="no router"):
            default_router(routes)
    with pytest.raises(GatewayError, match="no router"):
        default_router(tmp_path / "missing")
