"""A router between us and the internet that can pass on ports to us."""

from enum import StrEnum
from typing import Protocol

from wakumail.devp2p.addresses import PRIVATE, is_within_reach, read_node_address
from wakumail.errors import WakumailError

LIFETIME = 3600
"""Seconds that a router passes on a port; we ask again at half that time."""


class Transport(StrEnum):
    """The kinds of ports."""

    TCP = "TCP"
    UDP = "UDP"


class GatewayError(WakumailError):
    """The router does not pass on a port, or there is none that can."""

    counter = "gateway_failed"


class Gateway(Protocol):
    """A router that passes on ports, by NAT-PMP or UPnP."""

    name: str
    """The way in which it is asked."""

    async def external_ip(self) -> str:
        """Our address at the other side of the router. GatewayError."""

    async def map(self, transport: Transport, port: int) -> int:
        """Let the router pass on a port for LIFETIME; the port at its other side. GatewayError."""

    async def unmap(self, transport: Transport, port: int) -> None:
        """Take a mapping back. GatewayError."""


def read_external_ip(text: str) -> str:
    """Our address at the other side of a router, as it tells it.

    GatewayError for an address that no host there has: routers without a connection tell 0.0.0.0,
    one of loopback, or one that they have given themselves (169.254.0.0/16).
    """
    try:
        address = read_node_address(text)
    except ValueError:
        address = None
    if address is None or not is_within_reach(address, PRIVATE):
        raise GatewayError("the router has no connection to the internet")
    return str(address)
