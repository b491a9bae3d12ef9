"""A router that speaks UPnP, played by an HTTP server: the library and ours against its bytes."""

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec

import pytest
from aiohttp import web

from tests.support.patience import asynchronous
from wakumail.node import ssdp, upnp
from wakumail.node.gateway import LIFETIME, GatewayError, Transport
from wakumail.node.router_requester import MAX_ANSWER, MAX_DEPTH, MAX_ELEMENTS, MAX_SERVICES
from wakumail.node.upnp import Upnp

if find_spec("async_upnp_client") is None and not os.environ.get("CI"):
    pytest.skip("async-upnp-client is not installed", allow_module_level=True)

SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:1"
DEVICE = f"""<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0">
 <specVersion><major>1</major><minor>0</minor></specVersion>
 <device>
  <deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType>
  <friendlyName>router</friendlyName><manufacturer>m</manufacturer><modelName>m</modelName>
  <UDN>uuid:1</UDN>
  <deviceList><device>
   <deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:1</deviceType>
   <friendlyName>wan</friendlyName><manufacturer>m</manufacturer><modelName>m</modelName>
   <UDN>uuid:2</UDN>
   <serviceList><service>
    <serviceType>{SERVICE}</serviceType>
    <serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId>
    <SCPDURL>/scpd.xml</SCPDURL><controlURL>/control</controlURL><eventSubURL>/event</eventSubURL>
   </service></serviceList>
  </device></deviceList>
 </device>
</root>"""
ACTIONS = {
    "GetExternalIPAddress": {"NewExternalIPAddress": "out"},
    "AddPortMapping": dict.fromkeys(
        (
            "NewRemoteHost",
            "NewExternalPort",
            "NewProtocol",
            "NewInternalPort",
            "NewInternalClient",
            "NewEnabled",
            "NewPortMappingDescription",
            "NewLeaseDuration",
        ),
        "in",
    ),
    "DeletePortMapping": dict.fromkeys(("NewRemoteHost", "NewExternalPort", "NewProtocol"), "in"),
}
TYPES = {"NewExternalPort": "ui2", "NewInternalPort": "ui2", "NewEnabled": "boolean"}
TYPES["NewLeaseDuration"] = "ui4"


def scpd() -> str:
    """The description of the service, as UPnP wants it."""
    actions = "".join(
        f"<action><name>{name}</name><argumentList>"
        + "".join(
            f"<argument><name>{argument}</name><direction>{way}</direction>"
            f"<relatedStateVariable>{argument}</relatedStateVariable></argument>"
            for argument, way in arguments.items()
        )
        + "</argumentList></action>"
        for name, arguments in ACTIONS.items()
    )
    names = sorted({name for arguments in ACTIONS.values() for name in arguments})
    variables = "".join(
        f'<stateVariable sendEvents="no"><name>{name}</name>'
        f"<dataType>{TYPES.get(name, 'string')}</dataType></stateVariable>"
        for name in names
    )
    return (
        '<?xml version="1.0"?><scpd xmlns="urn:schemas-upnp-org:service-1-0">'
        "<specVersion><major>1</major><minor>0</minor></specVersion>"
        f"<actionList>{actions}</actionList>"
        f"<serviceStateTable>{variables}</serviceStateTable></scpd>"
    )


ENTITIES = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><a>&d;</a>'


class Router:
    """Its mappings, and what it says when it is asked."""

    def __init__(self) -> None:
        self.pages = {"/device.xml": DEVICE, "/scpd.xml": scpd()}
        self.answer = ""
        """The answer to any action, unless empty."""
        self.ip = "203.0.113.7"
        self.mapped: dict[tuple[str, str], dict[str, str]] = {}
        self.only_permanent = False
        self.refuses = 0

    async def control(self, request: web.Request) -> web.Response:
        action = request.headers["SOAPAction"].strip('"').rpartition("#")[2]
        body = await request.text()
        given = dict(re.findall(r"<(New\w+)>([^<]*)</\1>", body))
        if self.answer:
            return web.Response(text=self.answer, content_type="text/xml")
        if self.refuses:
            return fault(self.refuses)
        if action == "GetExternalIPAddress":
            answer = f"<NewExternalIPAddress>{self.ip}</NewExternalIPAddress>"
        elif action == "AddPortMapping":
            if self.only_permanent and given["NewLeaseDuration"] != "0":
                return fault(725)
            self.mapped[given["NewProtocol"], given["NewExternalPort"]] = given
            answer = ""
        else:
            del self.mapped[given["NewProtocol"], given["NewExternalPort"]]
            answer = ""
        return web.Response(
            content_type="text/xml",
            text='<?xml version="1.0"?><s:Envelope '
            'xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
            f'<u:{action}Response xmlns:u="{SERVICE}">{answer}</u:{action}Response>'
            "</s:Body></s:Envelope>",
        )


def fault(code: int) -> web.Response:
    return web.Response(
        status=500,
        content_type="text/xml",
        text='<?xml version="1.0"?><s:Envelope '
        'xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>'
        "<faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>"
        '<UPnPError xmlns="urn:schemas-upnp-org:control-1-0">'
        f"<errorCode>{code}</errorCode><errorDescription>no</errorDescription>"
        "</UPnPError></detail></s:Fault></s:Body></s:Envelope>",
    )


@asynccontextmanager
async def routing() -> AsyncIterator[tuple[Router, Upnp]]:
    router = Router()
    app = web.Application()

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=router.pages[request.path], content_type="text/xml")

    app.router.add_get("/device.xml", page)
    app.router.add_get("/scpd.xml", page)
    app.router.add_post("/control", router.control)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield router, Upnp(f"http://127.0.0.1:{port}/device.xml")
    finally:
        await runner.cleanup()


@asynchronous
async def test_a_router_tells_our_address_and_passes_on_ports() -> None:
    async with routing() as (router, asked):
        assert await asked.external_ip() == "203.0.113.7"
        assert await asked.map(Transport.TCP, 30303) == 30303
        assert await asked.map(Transport.UDP, 30304) == 30304
        mapping = router.mapped["TCP", "30303"]
        assert mapping["NewInternalClient"] == "127.0.0.1"
        assert mapping["NewInternalPort"] == "30303"
        assert mapping["NewLeaseDuration"] == str(LIFETIME)
        assert mapping["NewRemoteHost"] == "", "any host"
        await asked.unmap(Transport.TCP, 30303)
        assert router.mapped.keys() == {("UDP", "30304")}


@asynchronous
async def test_a_router_that_passes_on_ports_for_ever_only() -> None:
    async with routing() as (router, asked):
        router.only_permanent = True
        await asked.external_ip()
        await asked.map(Transport.TCP, 30303)
        assert router.mapped["TCP", "30303"]["NewLeaseDuration"] == "0"


NOT_OURS = (
    *("", "x", "0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "2001:db8::1%eth0", "ff02::1", "::ffff:0.0.0.0"),
)


@asynchronous
async def test_an_address_that_no_host_has_is_none() -> None:
    async with routing() as (router, asked):
        for router.ip in NOT_OURS:
            with pytest.raises(GatewayError, match="no connection to the internet"):
                await asked.external_ip()
        for router.ip in ("192.168.1.2", "2001:db8::1"):
            assert await asked.external_ip() == router.ip


@asynchronous
async def test_a_router_that_refuses() -> None:
    async with routing() as (router, asked):
        await asked.external_ip()
        router.refuses = 718
        with pytest.raises(GatewayError, match="718"):
            await asked.map(Transport.TCP, 30303)
    with pytest.raises(GatewayError, match="the router refuses"):
        await asked.external_ip()


@pytest.mark.parametrize("text", [ENTITIES, "<a>" * 10_000, "hello", "<a", "\0", ""])
@pytest.mark.parametrize("where", ["/device.xml", "/scpd.xml", "an action"])
@asynchronous
async def test_an_answer_of_any_kind_is_an_error_of_the_router(where: str, text: str) -> None:
    async with routing() as (router, asked):
        if where == "an action":
            router.answer = text or " "
        else:
            router.pages[where] = text
        with pytest.raises(GatewayError) as failed:
            await asked.external_ip()
        assert len(str(failed.value)) < 300
        assert str(failed.value).isprintable()


def elements(count: int) -> str:
    return DEVICE.replace("</device>", "<a/>" * count + "</device>", 1)


def devices(depth: int) -> str:
    """Devices in devices: the library calls itself for each."""
    inner = DEVICE[DEVICE.index("<deviceList>") : DEVICE.index("</deviceList>")]
    return DEVICE.replace(
        inner, "<deviceList><device>" * depth + inner + "</device></deviceList>" * depth
    )


SERVICES = "<service><controlURL>http://192.0.2.1/</controlURL></service>" * MAX_SERVICES


@pytest.mark.parametrize(
    ("where", "text", "why"),
    [
        ("/device.xml", DEVICE + " " * MAX_ANSWER, "more than 65,536 bytes"),
        ("/scpd.xml", scpd() + " " * MAX_ANSWER, "more than 65,536 bytes"),
        ("an action", " " * (MAX_ANSWER + 1), "more than 65,536 bytes"),
        ("/device.xml", elements(MAX_ELEMENTS), "too many"),
        (
            "/scpd.xml",
            scpd().replace("<actionList>", "<actionList>" + "<action/>" * MAX_ELEMENTS),
            "too many",
        ),
        ("/device.xml", DEVICE.replace("<service>", SERVICES + "<service>"), "too many services"),
        ("/device.xml", devices(MAX_DEPTH // 2), "too deep"),
        ("an action", "<a>" * (MAX_DEPTH + 1), "too deep"),
        ("an action", "<a>" + "<no:a/>" * MAX_ELEMENTS + "</a>", "too many"),
    ],
)
@asynchronous
async def test_an_answer_of_a_router_has_bounds(where: str, text: str, why: str) -> None:
    async with routing() as (router, asked):
        if where == "an action":
            router.answer = text
        else:
            router.pages[where] = text
        with pytest.raises(GatewayError, match=why):
            await asked.external_ip()


@asynchronous
async def test_long_descriptions_of_honest_routers_are_read() -> None:
    async with routing() as (router, asked):
        router.pages["/device.xml"] = elements(MAX_ELEMENTS // 2) + " " * (MAX_ANSWER // 2)
        assert await asked.external_ip() == "203.0.113.7"


@asynchronous
async def test_a_router_sends_us_nowhere_else() -> None:
    asked_for: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked_for.append(request.path)
        raise web.HTTPFound("/elsewhere")

    runner = web.ServerRunner(web.Server(answer))  # type: ignore[arg-type]
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    with pytest.raises(GatewayError, match="302"):
        await Upnp(f"http://127.0.0.1:{runner.addresses[0][1]}/device.xml").external_ip()
    assert asked_for == ["/device.xml"]
    await runner.cleanup()


@asynchronous
async def test_no_router_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssdp, "SEARCH_TIME", 0)
    with pytest.raises(GatewayError):
        await Upnp().external_ip()


def test_the_way_to_a_host() -> None:
    assert upnp.address_towards("127.0.0.1") == "127.0.0.1"
    with pytest.raises(GatewayError, match="no way to the router"):
        upnp.address_towards("no-such-host.invalid")
