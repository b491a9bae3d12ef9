"""A router between us and the internet that can pass on ports to us."""

from enum import StrEnum
from typing import Protocol

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
