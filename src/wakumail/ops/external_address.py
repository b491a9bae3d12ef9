"""Finds the address at which others reach this node, in the way that `--nat` names."""

import asyncio
import ipaddress
import logging
import socket
from contextlib import suppress

from wakumail.base.tasks import end_tasks
from wakumail.counters import Counters
from wakumail.devp2p.addresses import INTERNET, reach
from wakumail.devp2p.discovery.table import Contact
from wakumail.devp2p.discovery.told_address import ToldAddress
from wakumail.errors import reason
from wakumail.node.gateway import LIFETIME, Gateway, GatewayError, Transport
from wakumail.node.nat_pmp import NatPmp
from wakumail.node.presence import Presence
from wakumail.node.upnp import Upnp
from wakumail.ops.config.values import ASKED, Nat

log = logging.getLogger(__name__)

FIRST_ANSWER = 5.0
"""Seconds that the start of the server waits for the router."""

RETRY = 300.0
"""Seconds after a router that failed is asked again."""


class ExternalAddress:
    """Keeps the address of a presence, and the ports that a router passes on."""

    def __init__(self, presence: Presence, nat: str, counters: Counters) -> None:
        self._presence = presence
        self._nat = nat
        self._counters = counters
        self._asks_nodes = nat in (Nat.ANY, Nat.AUTO)
        """True if the word of other nodes counts, where no router tells our address."""
        self._told = ToldAddress()
        self._gateway: Gateway | None = None
        """The router that passes on our ports."""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; wait for the first answer of a router, but not for long. The node listens."""
        own = interface_address()
        if self._nat == Nat.ANY and own and reach(ipaddress.ip_address(own)) == INTERNET:
            self._asks_nodes = False
            self._move(own, None, "it is that of our network interface")
        elif self._nat in ASKED:
            asked = asyncio.Event()
            self._task = asyncio.get_running_loop().create_task(self._keep_mapped(asked))
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_ANSWER):
                    await asked.wait()

    async def close(self) -> None:
        """Give the ports back."""
        if self._task is not None:
            await end_tasks([self._task])
        if self._gateway is not None:
            try:
                async with asyncio.timeout(2.0):
                    for transport, port in self._ports():
                        await self._gateway.unmap(transport, port)
            except (GatewayError, TimeoutError) as error:
                log.info("the router keeps our ports for a while: %s", reason(error))

    def note_told(self, teller: Contact, ip: str) -> None:
        """Note the address that a node says we have."""
        if not self._asks_nodes or self._gateway is not None:
            return
        self._told.note(teller, ip, asyncio.get_running_loop().time())
        agreed = self._told.agreed(asyncio.get_running_loop().time())
        if agreed and agreed != self._presence.enode.host:
            self._move(agreed, None, "several nodes say so")

    # -- routers -------------------------------------------------------------------------------

    async def _keep_mapped(self, asked: asyncio.Event) -> None:
        """Have our ports passed on, for as long as we run; set `asked` after the first try."""
        while True:
            failures = []
            for gateway in self._gateways():
                try:
                    await self._map(gateway)
                    break
                except GatewayError as error:
                    failures.append(f"{gateway.name}: {error}")
                except Exception as error:  # a fault of ours may not end the asking
                    log.exception("the router cannot be asked by %s", gateway.name)
                    failures.append(f"{gateway.name}: {reason(error)}")
                self._counters.add(GatewayError.counter)
            else:
                self._gateway = None
                log.warning(
                    "no router passes on our ports (%s); pass on TCP and UDP port %d there, and"
                    " name the address with --nat extip:ADDRESS",
                    "; ".join(failures),
                    self._presence.own_enode.port,
                )
            asked.set()
            await asyncio.sleep(LIFETIME / 2 if self._gateway is not None else RETRY)

    def _gateways(self) -> list[Gateway]:
        """The routers to ask: first the one that has answered before."""
        if self._gateway is not None:
            return [self._gateway]
        gateways: list[Gateway] = []
        if self._nat in (Nat.ANY, Nat.PMP):
            gateways.append(NatPmp())
        if self._nat in (Nat.ANY, Nat.UPNP):
            gateways.append(Upnp())
        return gateways

    async def _map(self, gateway: Gateway) -> None:
        ip = await gateway.external_ip()
        ports = {transport: await gateway.map(transport, port) for transport, port in self._ports()}
        self._gateway = gateway
        if reach(ipaddress.ip_address(ip)) < INTERNET:
            log.warning("the router is itself behind another: its address is %s", ip)
        tcp = ports[Transport.TCP]
        self._move(ip, (tcp, ports.get(Transport.UDP, tcp)), f"the router says so ({gateway.name})")

    def _ports(self) -> list[tuple[Transport, int]]:
        """Our own ports that others shall reach."""
        own = self._presence.own_enode
        ports = [(Transport.TCP, own.port)]
        if self._presence.discovery is not None:
            ports.append((Transport.UDP, own.discport))
        return ports

    def _move(self, host: str, ports: tuple[int, int] | None, why: str) -> None:
        before = str(self._presence.enode)
        self._presence.move(host, ports)
        if str(self._presence.enode) != before:
            log.info("our enode is %s: %s", self._presence.enode, why)


def interface_address() -> str:
    """The IPv4 address of the interface that leads to the internet; "" without one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return ""
        return str(probe.getsockname()[0])
