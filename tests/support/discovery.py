"""Discovery in memory: nodes on a network that a test drives, and a prober that sends anything."""

import hashlib
import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

from wakumail.devp2p.discovery.datagram_outbox import EXPIRATION
from wakumail.devp2p.discovery.discv4 import Discv4, Discv4Config
from wakumail.devp2p.discovery.discv4_packets import Body, Datagram, Ping, Pong, seal
from wakumail.devp2p.discovery.table import Contact
from wakumail.devp2p.discovery.udp_endpoint import UdpEndpoint, parse_ip
from wakumail.devp2p.enr import Enr, Value
from wakumail.devp2p.keys import PrivateKey, node_id, private_key

Address: TypeAlias = tuple[str, int]

UNIX = 1_800_000_000
"""The Unix time at which the clock of a network stands at 0."""

LATENCY = 0.01
"""Seconds that a datagram takes."""


def node_key(name: str) -> PrivateKey:
    """A node key that is always the same."""
    return private_key(hashlib.sha256(name.encode()).digest())


def record_of(key: PrivateKey, address: Address, seq: int = 1, **more: Value) -> Enr:
    """The record of a node at an address, with TCP on the same port."""
    ip = parse_ip(address[0])
    values: dict[bytes, Value] = {
        b"ip" if ip.version == 4 else b"ip6": ip.packed,
        b"tcp": address[1],
        b"udp": address[1],
    }
    return Enr.make(key, seq, values | {name.encode(): value for name, value in more.items()})


class MemoryNode:
    """A node of discovery on a MemoryNetwork."""

    def __init__(self, network: "MemoryNetwork", name: str, address: Address) -> None:
        self._network = network
        self.key = node_key(name)
        self.address = address
        self.counts: Counter[str] = Counter()
        self.found: list[Contact] = []
        self.told: list[tuple[Contact, str]] = []
        draw = itertools.count()
        config = Discv4Config(
            key=self.key,
            random=lambda size: hashlib.shake_128(f"{name}:{next(draw)}".encode()).digest(size),
            unix=lambda: UNIX + network.now,
            count=lambda counter: self.counts.update([counter]),
            allows=lambda ip: ip != "127.6.6.6",
            on_found=self.found.append,
            on_told=lambda contact, ip: self.told.append((contact, ip)),
        )
        self.discv4 = Discv4(config, record_of(self.key, address), network.now)

    @property
    def id(self) -> bytes:
        """Its node id."""
        return node_id(self.key.public_key)

    @property
    def contact(self) -> Contact:
        """It as others would name it, as a bootnode."""
        return Contact(self.id, UdpEndpoint(*self.address, self.address[1]))

    def start(self, bootnode: "MemoryNode") -> None:
        """Begin, with one bootnode."""
        self.discv4.start([], self._network.now)
        self.discv4.enter([bootnode.contact], self._network.now)

    @property
    def known(self) -> set[bytes]:
        """The node ids in its table."""
        return {contact.node_id for contact in self.discv4.table}


class MemoryNetwork:
    """Carries datagrams between addresses, in order of time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.nodes: dict[Address, MemoryNode] = {}
        self.probers: dict[Address, Prober] = {}
        self.loses: Callable[[Address, Address], bool] = lambda _from, _to: False
        self._order = itertools.count()
        self._carried: list[tuple[float, int, tuple[bytes, Address, Address]]] = []

    def add(self, name: str, address: Address) -> MemoryNode:
        """Put a node on the network."""
        node = self.nodes[address] = MemoryNode(self, name, address)
        return node

    def remove(self, node: MemoryNode) -> None:
        """Take a node off the network."""
        del self.nodes[node.address]

    def carry(self, raw: bytes, source: Address, target: Address) -> None:
        """Let a datagram arrive after LATENCY."""
        if not self.loses(source, target):
            carried = raw, source, target
            heapq.heappush(self._carried, (self.now + LATENCY, next(self._order), carried))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while True:
            for node in tuple(self.nodes.values()):
                self._collect(node)
            due = [node.discv4.due for node in self.nodes.values()]
            times = [time for time in due if time is not None]
            if self._carried:
                times.append(self._carried[0][0])
            if not times or min(times) > end:
                break
            self.now = max(self.now, min(times))
            for node in tuple(self.nodes.values()):
                node.discv4.tick(self.now)
            while self._carried and self._carried[0][0] <= self.now:
                self._arrive(*heapq.heappop(self._carried)[2])
        self.now = end

    def _collect(self, node: MemoryNode) -> None:
        for raw, target in node.discv4.take():
            self.carry(raw, node.address, target)

    def _arrive(self, raw: bytes, source: Address, target: Address) -> None:
        if (node := self.nodes.get(target)) is not None:
            node.discv4.receive(raw, source, self.now)
        elif (prober := self.probers.get(target)) is not None:
            prober.got.append(Datagram.read(raw))


class Prober:
    """Sends whatever a test wants from an address, and keeps what comes back."""

    def __init__(self, network: MemoryNetwork, name: str, address: Address) -> None:
        self.key = node_key(name)
        self.id = node_id(self.key.public_key)
        self.address = address
        self.got: list[Datagram] = []
        self._network = network
        network.probers[address] = self

    @property
    def expiration(self) -> int:
        """A time that has not come yet."""
        return UNIX + int(self._network.now) + EXPIRATION

    @property
    def endpoint(self) -> UdpEndpoint:
        """Its own endpoint."""
        return UdpEndpoint(*self.address, self.address[1])

    def ping_for(self, node: MemoryNode) -> Ping:
        """A good ping."""
        to = UdpEndpoint(*node.address, 0)
        return Ping(4, self.endpoint, to, self.expiration, None)

    def send(self, node: MemoryNode, body: Body) -> bytes:
        """Send a datagram; its hash."""
        sealed = seal(self.key, body)
        self.send_raw(node, sealed.raw)
        return sealed.hash

    def send_raw(self, node: MemoryNode, raw: bytes) -> None:
        """Send any bytes."""
        self._network.carry(raw, self.address, node.address)

    def answers(self, seconds: float = 0.3) -> list[Body]:
        """The bodies that came since the last call, after a while; the node waits 0.3 s at most."""
        self._network.run(seconds)
        bodies = [datagram.body for datagram in self.got]
        self.got = []
        return bodies

    def bond(self, node: MemoryNode) -> None:
        """Prove our address to a node, and take its proof."""
        digest = self.send(node, self.ping_for(node))
        self._network.run(0.1)
        (pong,) = [d.body for d in self.got if isinstance(d.body, Pong)]
        assert pong.ping_hash == digest
        (ping,) = [d for d in self.got if isinstance(d.body, Ping)]
        self.send(node, self.pong_for(node, ping.hash))
        self._network.run(0.1)
        self.got = []

    def pong_for(self, node: MemoryNode, digest: bytes) -> Pong:
        """A good pong."""
        return Pong(UdpEndpoint(*node.address, 0), digest, self.expiration, None)


def pongs(bodies: list[Body]) -> list[Pong]:
    return [body for body in bodies if isinstance(body, Pong)]


def only_pings(bodies: list[Body]) -> bool:
    return all(isinstance(body, Ping) for body in bodies)
