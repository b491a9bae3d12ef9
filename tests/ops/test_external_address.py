"""The address at which others reach us: told by nodes, or by a router."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.discovery import node_key
from tests.support.patience import asynchronous, eventually
from tests.support.puppet import mailserver
from wakumail.devp2p.discovery.table import Contact
from wakumail.devp2p.discovery.told_address import MAX_TELLERS, STATEMENT_TIME, ToldAddress
from wakumail.devp2p.discovery.udp_endpoint import UdpEndpoint
from wakumail.devp2p.keys import node_id
from wakumail.mail.server import Server
from wakumail.node.gateway import Gateway, GatewayError, Transport
from wakumail.ops import external_address
from wakumail.ops.external_address import ExternalAddress


def teller(ip: str, name: str = "teller") -> Contact:
    return Contact(node_id(node_key(name).public_key), UdpEndpoint(ip, 30303, 30303))


# -- what nodes tell -----------------------------------------------------------------------------


def test_three_networks_have_to_agree() -> None:
    told = ToldAddress()
    for number in range(20):
        told.note(teller(f"203.0.113.{number}", f"{number}"), "192.0.2.1", 0.0)
    assert told.agreed(0.0) == "", "they are all of one network"
    told.note(teller("198.51.100.1"), "192.0.2.1", 0.0)
    assert told.agreed(0.0) == ""
    told.note(teller("8.8.8.8"), "192.0.2.1", 0.0)
    assert told.agreed(0.0) == "192.0.2.1"
    for number in range(3):
        told.note(teller(f"9.9.{number}.9"), "192.0.2.66", 0.0)
    assert told.agreed(0.0) == "", "no more than half of all agree"


def test_a_host_of_our_own_network_has_one_voice() -> None:
    for network in ("10.0.0", "127.0.0"):
        told = ToldAddress()
        for number in range(20):
            told.note(teller(f"{network}.1", f"{number}"), "10.0.0.9", 0.0)
        told.note(teller(f"{network}.2"), "10.0.0.9", 0.0)
        assert told.agreed(0.0) == ""
        told.note(teller(f"{network}.3"), "10.0.0.9", 0.0)
        assert told.agreed(0.0) == "10.0.0.9"


def test_our_own_network_does_not_outvote_the_internet() -> None:
    told = ToldAddress()
    told.note(teller("8.8.8.8"), "192.0.2.1", 0.0)
    for number in range(MAX_TELLERS + 1):
        told.note(teller(f"10.0.0.{number}"), "192.0.2.66", 0.0)
    assert told.agreed(0.0) == ""
    for ip in ("9.9.9.9", "198.51.100.1"):
        told.note(teller(ip), "192.0.2.1", 0.0)
    assert told.agreed(0.0) == "192.0.2.1"


NOT_OURS = ("0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "ff02::1", "fe80::1")


@pytest.mark.parametrize("ip", NOT_OURS)
def test_nobody_can_tell_an_address_that_no_host_has(ip: str) -> None:
    for network in ("127.0.0", "10.0.0", "169.254.1"):
        told = ToldAddress()
        for number in range(1, 9):
            told.note(teller(f"{network}.{number}"), ip, 0.0)
        assert told.agreed(0.0) == ""


@pytest.mark.parametrize("ip", ["127.0.0.1", "10.0.0.1", "169.254.1.1", "::1", "fd00::1"])
def test_the_internet_cannot_tell_an_address_of_our_own_networks(ip: str) -> None:
    told = ToldAddress()
    for number in range(1, 9):
        told.note(teller(f"8.8.{number}.8"), ip, 0.0)
    assert told.agreed(0.0) == ""


def test_the_last_word_of_a_node_counts_for_a_while() -> None:
    told = ToldAddress()
    for number in range(3):
        told.note(teller(f"10.0.0.{number}"), "192.0.2.1", 0.0)
    for number in range(3):
        told.note(teller(f"10.0.0.{number}"), "192.0.2.2", 1.0)
    assert told.agreed(2.0) == "192.0.2.2"
    assert told.agreed(STATEMENT_TIME + 1.0) == ""


def test_what_is_remembered_is_bounded() -> None:
    told = ToldAddress()
    for number in range(3 * MAX_TELLERS):
        for network in (8, 10):
            host = f"{network}.{number // 256}.{number % 256}.1"
            told.note(teller(host), "192.0.2.1", 0.0)
    assert len(told._of_internet) == len(told._of_own_networks) == MAX_TELLERS


@asynchronous
async def test_the_enode_follows_what_nodes_tell(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with mailserver(tmp_path) as (server, _):
        seq = server.presence.record.seq
        external = ExternalAddress(server.presence, "extip:auto", server.counters)
        await external.start()
        assert "for this machine only" in server.presence.limits
        for ip in ("8.8.8.8", "9.9.9.9", "198.51.100.1"):
            external.note_told(teller(ip), "203.0.113.7")
        assert server.enode.host == "203.0.113.7"
        assert str(server.presence.record.ip) == "203.0.113.7"
        assert server.presence.record.seq > seq
        assert server.presence.limits == ""
        assert "203.0.113.7" in caplog.text
        await external.close()


@asynchronous
async def test_nodes_are_not_heard_unless_they_are_asked(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        external = ExternalAddress(server.presence, "none", server.counters)
        await external.start()
        for ip in ("8.8.8.8", "9.9.9.9", "198.51.100.1"):
            external.note_told(teller(ip), "203.0.113.7")
        assert server.enode == enode


# -- routers -------------------------------------------------------------------------------------


class Router:
    """A router that passes on ports; `fault` makes it refuse."""

    name = "a router"

    def __init__(self) -> None:
        self.ip = "203.0.113.7"
        self.fault = ""
        self.mapped: dict[Transport, int] = {}

    async def external_ip(self) -> str:
        if self.fault:
            raise GatewayError(self.fault)
        return self.ip

    async def map(self, transport: Transport, port: int) -> int:
        self.mapped[transport] = port
        return port + 1

    async def unmap(self, transport: Transport, port: int) -> None:
        del self.mapped[transport]


@asynccontextmanager
async def routed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nat: str, *routers: Gateway
) -> AsyncIterator[Server]:
    monkeypatch.setattr(external_address, "interface_address", lambda: "10.0.0.5")
    monkeypatch.setattr(ExternalAddress, "_gateways", lambda self: list(routers))
    async with mailserver(tmp_path) as (server, _):
        external = ExternalAddress(server.presence, nat, server.counters)
        await external.start()
        yield server
        await external.close()


@asynchronous
async def test_a_router_passes_on_the_port_until_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Router(), Router()
    first.fault = "not today"
    async with routed(tmp_path, monkeypatch, "any", first, second) as server:
        own = server.own_enode
        assert second.mapped == {Transport.TCP: own.port}
        assert (server.enode.host, server.enode.port) == ("203.0.113.7", own.port + 1)
        assert server.presence.record.tcp == own.port + 1
    assert not second.mapped


@asynchronous
async def test_without_a_router_an_operator_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router()
    router.fault = "not today"
    monkeypatch.setattr(external_address, "RETRY", 0.001)
    async with routed(tmp_path, monkeypatch, "pmp", router) as server:
        assert server.enode == server.own_enode
        assert "not today" in caplog.text
        assert "--nat extip:ADDRESS" in caplog.text
        assert server.counters["gateway_failed"] > 0
        router.fault = ""
        await eventually(lambda: server.enode.host == "203.0.113.7")


@asynchronous
async def test_a_fault_of_ours_is_told_and_the_next_router_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Unforeseen(Router):
        async def external_ip(self) -> str:
            raise ValueError("nobody thought of it")

    async with routed(tmp_path, monkeypatch, "any", Unforeseen(), Router()) as server:
        assert server.enode.host == "203.0.113.7"
        assert "nobody thought of it" in caplog.text
        assert server.counters["gateway_failed"] == 1


@asynchronous
async def test_a_router_behind_a_router_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router()
    router.ip = "192.168.1.2"
    async with routed(tmp_path, monkeypatch, "any", router) as server:
        assert "is itself behind another" in caplog.text
        assert "its own network only" in server.presence.limits


@asynchronous
async def test_an_interface_of_the_internet_needs_no_router(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_address, "interface_address", lambda: "203.0.113.9")
    async with mailserver(tmp_path) as (server, _):
        external = ExternalAddress(server.presence, "any", server.counters)
        await external.start()
        assert server.enode.host == "203.0.113.9"
        await external.close()


@asynchronous
async def test_a_router_that_does_not_answer_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(Router):
        async def external_ip(self) -> str:
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr(external_address, "FIRST_ANSWER", 0.01)
    async with routed(tmp_path, monkeypatch, "upnp", Silent()) as server:
        assert server.enode == server.own_enode


def test_the_interface_that_leads_out() -> None:
    found = external_address.interface_address()
    assert found == "" or found.count(".") == 3
