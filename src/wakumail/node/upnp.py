"""UPnP: finds the router, and asks it for our external address and for ports there.

The library async-upnp-client does what UPnP needs; it is the extra `upnp`, imported when used.
"""

import asyncio
import socket
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from wakumail.base.text import printable
from wakumail.errors import reason
from wakumail.node.gateway import LIFETIME, GatewayError, Transport, read_external_ip
from wakumail.node.router_requester import RouterRequester
from wakumail.node.ssdp import find_router

CONNECTIONS = (
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
)
"""The services of a router that know our address and pass on ports, the best first."""

DESCRIPTION_TIME = 10.0
"""Seconds that a router has to describe itself and each of its services."""

ONLY_PERMANENT = 725
"""The error of a router that passes on ports for ever, or not at all."""

MAX_REASON = 200
"""Characters of an error that are told: the library puts the whole answer into some."""

DESCRIPTION = "wakumail"
"""The name that a router shows its owner for the ports."""


class Upnp:
    """A router that speaks UPnP: the first that answers, or that described at `location`."""

    name = "UPnP"

    def __init__(self, location: str | None = None) -> None:
        self._location = location
        self._service: Any = None
        """The UpnpService of the library, once the router was found."""

    async def external_ip(self) -> str:
        """Our address at the other side of the router. GatewayError."""
        answer = await self._call("GetExternalIPAddress")
        return read_external_ip(str(answer.get("NewExternalIPAddress", "")))

    async def map(self, transport: Transport, port: int) -> int:
        """Let the router pass on a port for LIFETIME; the port at its other side. GatewayError."""
        try:
            await self._add(transport, port, LIFETIME)
        except GatewayError as error:
            if getattr(error.__cause__, "error_code", None) != ONLY_PERMANENT:
                raise
            await self._add(transport, port, 0)
        return port

    async def unmap(self, transport: Transport, port: int) -> None:
        """Take a mapping back. GatewayError."""
        await self._call(
            "DeletePortMapping",
            NewRemoteHost="",
            NewExternalPort=port,
            NewProtocol=transport.value,
        )

    async def _add(self, transport: Transport, port: int, seconds: int) -> None:
        assert self._location is not None, "external_ip is asked for first"
        await self._call(
            "AddPortMapping",
            NewRemoteHost="",
            NewExternalPort=port,
            NewProtocol=transport.value,
            NewInternalPort=port,
            NewInternalClient=address_towards(urlsplit(self._location).hostname or ""),
            NewEnabled=True,
            NewPortMappingDescription=DESCRIPTION,
            NewLeaseDuration=seconds,
        )

    async def _call(self, action: str, **arguments: Any) -> Any:
        """The answer of the router to an action. GatewayError."""
        if find_spec("async_upnp_client") is None:
            raise GatewayError('it needs async-upnp-client: pip install "async-upnp-client>=0.44"')
        try:
            if self._service is None:
                self._service = await self._find()
            return await self._service.async_call_action(action, **arguments)
        except GatewayError:
            raise
        except Exception as error:  # anything that the library makes of the bytes of a stranger
            self._service = None
            why = printable(reason(error).encode("utf-8", "replace"), MAX_REASON)
            raise GatewayError(f"the router refuses: {why}") from error

    async def _find(self) -> Any:
        """The service of the router that passes on ports."""
        from async_upnp_client.client_factory import UpnpFactory

        if self._location is None:
            self._location = await find_router()
        requester: Any = RouterRequester()  # has all that the library calls
        factory = UpnpFactory(requester, non_strict=True)
        async with asyncio.timeout(DESCRIPTION_TIME):
            device = await factory.async_create_device(self._location)
        services = {service.service_type: service for service in device.all_services}
        for kind in CONNECTIONS:
            if kind in services:
                return services[kind]
        raise GatewayError("the router passes on no ports")


def address_towards(host: str) -> str:
    """Our address in the network of a host. GatewayError."""
    try:
        family, kind, *_, address = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)  # sends nothing
            return str(probe.getsockname()[0])
    except OSError as error:
        raise GatewayError(f"no way to the router {host}: {error.strerror}") from None
