"""The UDP socket and the clock of node discovery (discv4)."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wakumail.base.tasks import end_tasks
from wakumail.base.token_bucket import TokenBucket
from wakumail.counters import Counters
from wakumail.devp2p.addresses import Network, plain_ip, undialable
from wakumail.devp2p.discovery.discv4 import Discv4, Discv4Config
from wakumail.devp2p.discovery.discv4_packets import MAX_DATAGRAM
from wakumail.devp2p.discovery.table import Contact, Table
from wakumail.devp2p.discovery.udp_endpoint import UdpEndpoint, parse_ip
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.enr import Enr
from wakumail.devp2p.keys import PrivateKey, node_id
from wakumail.errors import reason
from wakumail.node.contacts_file import read_contacts, write_contacts
from wakumail.node.peer_finder import Candidate

log = logging.getLogger(__name__)

MAX_READ = 1000.0
"""Datagrams per second that are read. The system drops the others, which costs us no time."""

READ_TIME = 0.001
"""Seconds of one round of the loop in which datagrams are read."""

PAUSE = 0.05
"""Seconds without reading once MAX_READ is reached."""

KEEP_INTERVAL = 300.0
"""Seconds between two writes of the table to the disk."""

MANY_EXPIRED = 10
"""Expired datagrams within KEEP_INTERVAL from which on the clock may be wrong."""

RESOLVE_INTERVAL = 60.0
"""Seconds between two attempts to resolve the names of bootnodes."""


@dataclass(frozen=True, slots=True)
class DiscoveryConfig:
    """The choices of an operator about discovery."""

    key: PrivateKey
    bootnodes: tuple[Enode, ...]
    netrestrict: tuple[Network, ...]
    """Networks that we have to do with; none: all."""
    contacts: Path | None
    """The file of the nodes that were known when the server stopped; None keeps them nowhere."""


class Discovery:
    """Finds nodes by discovery v4, and lets this node be found."""

    def __init__(
        self,
        config: DiscoveryConfig,
        counters: Counters,
        on_told: Callable[[Contact, str], None] = lambda _teller, _ip: None,
    ) -> None:
        """`on_told` is called with a node and the IP address that it says we have."""
        self.port = 0
        """Our UDP port, once we listen."""
        self._config = config
        self._counters = counters
        self._on_told = on_told
        self._loop = asyncio.get_running_loop()
        self._discv4: Discv4
        self._budget = TokenBucket(MAX_READ, MAX_READ, self._loop.time())
        self._socket: socket.socket
        self._is_ipv6 = False
        self._timer: asyncio.Handle | None = None
        self._resumption: asyncio.Handle | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._looked = 0, 0
        """Expired datagrams and pongs at the last look at the clock."""

    # -- for the server ------------------------------------------------------------------------

    @property
    def table(self) -> Table:
        """The nodes that have proven their address."""
        return self._discv4.table

    async def listen(self, host: str, port: int) -> int:
        """Open the socket; returns its port. Port 0 lets the system choose. OSError.

        The host `::` takes IPv4 too, if the system can.
        """
        found = await self._loop.getaddrinfo(
            host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
        )
        family, address = found[0][0], found[0][4]
        own = socket.socket(family, socket.SOCK_DGRAM)
        try:
            own.setblocking(False)
            self._is_ipv6 = family == socket.AF_INET6
            if self._is_ipv6:
                dual = host == "::" and socket.has_dualstack_ipv6()
                own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
            own.bind(address)
        except BaseException:
            own.close()
            raise
        self._socket = own
        self.port = own.getsockname()[1]
        return self.port

    def start(self, record: Enr) -> None:
        """Begin to look for nodes and to answer them, with a record that names our port."""
        config = Discv4Config(
            key=self._config.key,
            random=os.urandom,
            unix=time.time,
            count=self._counters.add,
            allows=self._allows,
            on_told=self._on_told,
        )
        self._discv4 = Discv4(config, record, self._loop.time())
        self._loop.add_reader(self._socket, self._read)
        self._tasks = [
            self._loop.create_task(self._begin()),
            self._loop.create_task(self._keep()),
        ]

    async def close(self) -> None:
        """Close the socket, and keep the table on the disk."""
        self._loop.remove_reader(self._socket)
        for handle in (self._timer, self._resumption):
            if handle is not None:
                handle.cancel()
        await end_tasks(self._tasks)
        self._socket.close()
        await self._write_contacts()

    def announce(self, record: Enr) -> None:
        """Take a new record of our own, and let others hear of it."""
        self._discv4.announce(record, self._loop.time())
        self._go_on()

    # -- peer_finder.Source --------------------------------------------------------------------

    def candidates(self) -> Iterator[Candidate]:
        """The nodes of the table that can be dialed; those with a record once that is known."""
        for contact in self.table:
            ip, udp, tcp = contact.endpoint
            record = contact.record
            if tcp and (record is not None or not contact.wants_record):
                speaks = record is not None and record.speaks_waku
                yield Candidate(Enode(contact.node_id, ip, tcp, udp), speaks)

    def look(self) -> None:
        """Look for more nodes, unless that is going on."""
        self._discv4.look_around(self._loop.time())
        self._go_on()

    # -- start and keeping ---------------------------------------------------------------------

    async def _begin(self) -> None:
        """Start with the nodes of the last run, and with bootnodes once their names resolve."""
        path = self._config.contacts
        seeds = [] if path is None else read_contacts(path)
        self._discv4.start(seeds, self._loop.time())
        unresolved = list(self._config.bootnodes)
        while unresolved:
            contacts, unresolved = await self._resolve(unresolved)
            self._discv4.enter(contacts, self._loop.time())
            self._go_on()
            if unresolved:
                await asyncio.sleep(RESOLVE_INTERVAL)
        self._go_on()

    async def _resolve(self, bootnodes: Iterable[Enode]) -> tuple[list[Contact], list[Enode]]:
        """The bootnodes whose names resolve, and the others."""
        contacts, unresolved = [], []
        for enode in bootnodes:
            if why := self._unasked(enode):
                log.warning("bootnode %s is left out: %s", enode.address, why)
                continue
            try:
                found = await self._loop.getaddrinfo(
                    enode.host, enode.discport, type=socket.SOCK_DGRAM
                )
            except OSError as error:
                log.warning("bootnode %s: %s", enode.address, reason(error))
                unresolved.append(enode)
                continue
            # An IPv4 socket reaches no IPv6 address.
            fit = [e for e in found if e[0] == socket.AF_INET or self._is_ipv6] or found
            endpoint = UdpEndpoint(plain_ip(str(fit[0][4][0])), enode.discport, enode.port)
            contacts.append(Contact(enode.node_id, endpoint))
        return contacts, unresolved

    def _unasked(self, bootnode: Enode) -> str:
        """The reason why a bootnode cannot be asked; empty if there is none."""
        if bootnode.node_id == node_id(self._config.key.public_key):
            return "it has the id of this node itself"
        if not bootnode.discport:
            return "it has no UDP port"
        return undialable(bootnode.host)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(KEEP_INTERVAL)
            await self._write_contacts()
            self._doubt_clock()

    def _doubt_clock(self) -> None:
        """Tell an operator if most of what came since the last look seems to be too old."""
        looked = self._counters["discovery_expired"], self._counters["discovery_pongs_received"]
        expired, pongs = (now - before for now, before in zip(looked, self._looked, strict=True))
        self._looked = looked
        if expired >= MANY_EXPIRED and expired > pongs:
            log.warning("most datagrams of discovery are too old: is our clock ahead?")

    async def _write_contacts(self) -> None:
        """Keep the table on the disk; in a thread, for a disk may hang."""
        path = self._config.contacts
        contacts = list(self.table)
        if path is not None and contacts:  # a run that met nobody forgets nobody of the last one
            await self._loop.run_in_executor(None, write_contacts, path, contacts)

    def _allows(self, ip: str) -> bool:
        networks, address = self._config.netrestrict, parse_ip(ip)
        return not networks or address.is_loopback or any(address in each for each in networks)

    # -- the socket and the clock --------------------------------------------------------------

    def _read(self) -> None:
        """Take the datagrams that came; more of them than MAX_READ wait, or are lost."""
        now, ends = self._loop.time(), time.monotonic() + READ_TIME  # the loop's clock stands still
        while time.monotonic() < ends:
            if not self._budget.take(1.0, now):
                self._pause()
                break
            try:
                raw, address = self._socket.recvfrom(MAX_DATAGRAM + 1)
            except BlockingIOError:
                break
            except OSError as error:  # an error of an earlier datagram of ours
                log.debug("discovery: %s", error)
                continue
            self._discv4.receive(raw, (plain_ip(address[0]), address[1]), now)
        self._go_on()

    def _pause(self) -> None:
        self._counters.add("discovery_reads_paused")
        self._loop.remove_reader(self._socket)
        self._resumption = self._loop.call_later(PAUSE, self._resume)

    def _resume(self) -> None:
        self._loop.add_reader(self._socket, self._read)

    def _tick(self) -> None:
        self._timer = None
        self._discv4.tick(self._loop.time())
        self._go_on()

    def _go_on(self) -> None:
        """Send what there is to send, and set the timer."""
        for raw, address in self._discv4.take():
            self._send(raw, *address)
        due = self._discv4.due
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if due is None else self._loop.call_at(due, self._tick)

    def _send(self, raw: bytes, ip: str, port: int) -> None:
        mapped = self._is_ipv6 and ":" not in ip
        try:
            self._socket.sendto(raw, (f"::ffff:{ip}" if mapped else ip, port))
        except OSError as error:  # no route, a full buffer, a firewall: all may pass
            self._counters.add("discovery_unsent")
            log.debug("discovery: %s port %d: %s", ip, port, error)
