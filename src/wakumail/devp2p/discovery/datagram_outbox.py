"""Datagrams of discovery on their way out: signed, counted, in order."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from wakumail.devp2p.discovery.discv4_packets import DISCV4_VERSION, Body, Ping, Sealed, seal
from wakumail.devp2p.discovery.udp_endpoint import UdpEndpoint
from wakumail.devp2p.enr import Enr
from wakumail.devp2p.keys import PrivateKey

EXPIRATION = 20
"""Seconds from the sending of a datagram to its end."""

UdpAddress: TypeAlias = tuple[str, int]
"""IP and UDP port of a datagram."""


class Outgoing(NamedTuple):
    """A datagram to send."""

    raw: bytes
    address: UdpAddress


class DatagramOutbox:
    """Signs datagrams with our node key, and keeps them until they are taken."""

    def __init__(
        self,
        key: PrivateKey,
        record: Enr,
        unix: Callable[[], float],
        counted: Callable[[str], None],
    ) -> None:
        self.record = record
        """Our own record."""
        self._key = key
        self._unix = unix
        self._count = counted
        self._waiting: deque[Outgoing] = deque()

    @property
    def expiration(self) -> int:
        """The Unix time at which a datagram of now ends."""
        return int(self._unix()) + EXPIRATION

    def has_expired(self, expiration: int | None) -> bool:
        """True if a datagram that others have sent came too late; those without a time never do."""
        return expiration is not None and expiration < self._unix()

    def send(self, body: Body, address: UdpAddress) -> Sealed:
        """Sign a datagram and put it at the end."""
        sealed = seal(self._key, body)
        self._waiting.append(Outgoing(sealed.raw, address))
        self._count(body.sent)
        return sealed

    def ping(self, to: UdpEndpoint) -> Sealed:
        """Send a ping."""
        record = self.record
        own = UdpEndpoint(str(record.ip or "0.0.0.0"), record.udp, record.tcp)
        there = to._replace(tcp=0)
        return self.send(Ping(DISCV4_VERSION, own, there, self.expiration, record.seq), to.address)

    def take(self) -> Iterator[Outgoing]:
        """All that wait, once."""
        while self._waiting:
            yield self._waiting.popleft()
