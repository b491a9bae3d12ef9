"""NAT-PMP: asks the router for our external address and for ports there (RFC 6886).

request   = version 0, operation                                                  2 bytes
response  = version 0, operation + 128, result 2, epoch 4, address 4             12 bytes
request   = version 0, operation, reserved 2, port 2, external port 2, life 4    12 bytes
response  = version 0, operation + 128, result 2, epoch 4, port 2, external 2, life 4
"""

import asyncio
import ipaddress
import socket
import struct
from pathlib import Path

from wakumail.node.gateway import LIFETIME, GatewayError, Transport, read_external_ip

PORT = 5351
"""UDP port of the router (section 3)."""

FIRST_WAIT = 0.25
"""Seconds to the second request; they double with each (section 3.1)."""

TRIES = 4
"""Requests without an answer before the router is taken to have no NAT-PMP."""

OPERATIONS = {Transport.UDP: 1, Transport.TCP: 2}

RESULTS = {
    1: "it speaks another version",
    2: "it does not allow that",
    3: "it has no connection to the internet",
    4: "it has no more ports",
    5: "it does not know that operation",
}


class NatPmp:
    """A router that speaks NAT-PMP; by default the one that leads out of this machine."""

    name = "NAT-PMP"

    def __init__(self, router: str | None = None, port: int = PORT) -> None:
        self._router = router
        self._port = port

    async def external_ip(self) -> str:
        """Our address at the other side of the router. GatewayError."""
        answer = await self._ask(struct.pack(">BB", 0, 0), 12)
        return read_external_ip(str(ipaddress.IPv4Address(answer[8:12])))

    async def map(self, transport: Transport, port: int) -> int:
        """Let the router pass on a port for LIFETIME; the port at its other side. GatewayError."""
        answer = await self._ask(self._mapping(transport, port, LIFETIME), 16)
        if not (external := int.from_bytes(answer[10:12], "big")):
            raise GatewayError("the router passes on port 0, which is none")
        return external

    async def unmap(self, transport: Transport, port: int) -> None:
        """Take a mapping back. GatewayError."""
        await self._ask(self._mapping(transport, port, 0), 16)

    @staticmethod
    def _mapping(transport: Transport, port: int, seconds: int) -> bytes:
        wanted = port if seconds else 0
        return struct.pack(">BBHHHI", 0, OPERATIONS[transport], 0, port, wanted, seconds)

    async def _ask(self, request: bytes, size: int) -> bytes:
        """The answer to a request, of `size` bytes at least."""
        loop = asyncio.get_running_loop()
        router = self._router or default_router()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.setblocking(False)
            try:
                # Connected: nobody but the router can answer.
                await loop.sock_connect(own, (router, self._port))
                for attempt in range(TRIES):
                    await loop.sock_sendall(own, request)
                    try:
                        async with asyncio.timeout(FIRST_WAIT * 2**attempt):
                            return await self._receive(own, request[1], size)
                    except TimeoutError:
                        continue
            except OSError as error:
                raise GatewayError(f"the router {router}: {error.strerror}") from None
        raise GatewayError(f"the router {router} does not answer")

    @staticmethod
    async def _receive(own: socket.socket, operation: int, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        while True:
            answer = await loop.sock_recv(own, 64)
            if len(answer) < 4 or answer[:2] != bytes([0, operation + 128]):
                continue  # the late answer to another request
            result = int.from_bytes(answer[2:4], "big")
            if result:
                raise GatewayError(f"the router refuses: {RESULTS.get(result, f'error {result}')}")
            if len(answer) >= size:
                return answer


def default_router(routes: Path = Path("/proc/net/route")) -> str:
    """The address of the router that leads out of this machine. GatewayError without one."""
    try:
        for line in routes.read_text().splitlines()[1:]:
            _, destination, router, *_ = line.split()
            if destination == "00000000" and router != "00000000":
                return str(ipaddress.IPv4Address(int(router, 16).to_bytes(4, "little")))
    except (OSError, ValueError):
        pass
    raise GatewayError("this machine has no router for IPv4")
