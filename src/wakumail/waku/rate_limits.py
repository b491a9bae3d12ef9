"""Rate limits between peers (6/WAKU1, "Rate Limits Field"): ours for them, and theirs for us.

`now` is the time in seconds, of any clock.
"""

import ipaddress
from collections.abc import Callable, Collection
from typing import NamedTuple

from wakumail.base.token_bucket import RateLimiter, TokenBucket
from wakumail.devp2p.addresses import Network
from wakumail.errors import ProtocolError
from wakumail.waku.envelope import Batch
from wakumail.waku.packets import PeerSettings, RateLimits
from wakumail.waku.topic_limiter import TopicLimiter

REGAIN = 0.1
"""Tolerated excesses that a peer gets back per second."""

LINE_INTERVAL = 0.1
"""Seconds after which a sender that is not the first in line asks again."""

NETWORK_BITS = 64
"""Bits of an IPv6 network: a host may use any address in it, so the limits count it as one."""

Count = Callable[[str], None]


class TrafficExcess(ProtocolError):
    """The peer went over a rate limit more often than is tolerated."""

    counter = "traffic_excess"


class Limiters(NamedTuple):
    """A limiter for each of the RateLimits but those of topics."""

    ip: RateLimiter
    peer: RateLimiter


class Whitelist:
    """The node ids (64 bytes) and networks that no rate limit applies to."""

    def __init__(
        self, node_ids: Collection[bytes] = (), networks: Collection[Network] = ()
    ) -> None:
        self._node_ids = frozenset(node_ids)
        self._networks = tuple(networks)

    def has(self, node_id: bytes, address: str) -> bool:
        """True if this peer or its address is on the list."""
        if node_id in self._node_ids:
            return True
        return bool(self._networks) and any(
            ipaddress.ip_address(address) in network for network in self._networks
        )


class IncomingLimits:
    """Our limits for peers: per address, per peer, and per topic of one peer.

    `packets` and `sizes` (bytes) are our limits per second, as our status advertises them; 0: no
    limit. The limits of topics count envelopes and their bytes. A burst of one second is taken,
    and always one packet of `max_packet` bytes. A packet over a limit is counted in `count` and
    still taken, `tolerance` times in a row; then the peer is disconnected.
    """

    def __init__(
        self,
        packets: RateLimits,
        sizes: RateLimits,
        *,
        tolerance: int,
        max_packet: int,
        whitelist: Whitelist,
        count: Count,
    ) -> None:
        self._packets = Limiters(RateLimiter(packets.ip), RateLimiter(packets.peer))
        self._sizes = Limiters(
            *(RateLimiter(rate, max(rate, max_packet)) for rate in (sizes.ip, sizes.peer))
        )
        self._topics: TopicLimiter | None = None
        if packets.topic or sizes.topic:
            self._topics = TopicLimiter(packets.topic, sizes.topic, max_packet)
        self._tolerated = RateLimiter(REGAIN, tolerance) if tolerance else None
        self._whitelist = whitelist
        self._count = count

    @property
    def by_topic(self) -> bool:
        """True if there are limits of topics, so that `check_topics` has to be called."""
        return self._topics is not None

    def check(self, node_id: bytes, address: str, size: int, now: float) -> None:
        """Count a packet of `size` bytes; TrafficExcess if the peer is to be disconnected."""
        if self._whitelist.has(node_id, address):
            return
        self._count("packets_limited")
        host = host_of(address)
        exceeded = [
            name
            for name, limiter, key, amount in (
                ("rate_limit_packets_ip", self._packets.ip, host, 1),
                ("rate_limit_packets_peer", self._packets.peer, node_id, 1),
                ("rate_limit_bytes_ip", self._sizes.ip, host, size),
                ("rate_limit_bytes_peer", self._sizes.peer, node_id, size),
            )
            if not limiter.take((key,), now, amount)
        ]
        self._judge(node_id, exceeded, now)

    def check_topics(self, node_id: bytes, address: str, batch: Batch, now: float) -> None:
        """Count the envelopes that came of each topic; TrafficExcess as in `check`."""
        if self._topics is None or self._whitelist.has(node_id, address):
            return
        envelopes_left, size_left = self._topics.take(node_id, batch, now)
        exceeded = []
        if not envelopes_left:
            exceeded.append("rate_limit_packets_topic")
        if not size_left:
            exceeded.append("rate_limit_bytes_topic")
        self._judge(node_id, exceeded, now)

    def _judge(self, node_id: bytes, exceeded: list[str], now: float) -> None:
        for name in exceeded:
            self._count(name)
        if not exceeded:
            return
        if self._tolerated is None or not self._tolerated.take((node_id,), now):
            raise TrafficExcess(f"over our limits: {', '.join(exceeded)}")


class Turn:
    """The place of a sender in the line of those that wait to send one peer a packet."""

    def __init__(self, on_first: Callable[[], None] | None = None) -> None:
        """`on_first` is called when it becomes the first; who has none asks again."""
        self.on_first = on_first
        self.size = 0
        """Bytes of its packet."""


class OutgoingLimits:
    """Limits the rate of packets to a peer, by the limits that it advertises.

    To the peer we are one address and one node, so the lower of both limits holds. Every packet
    counts, whatever its code: so do deployed nodes. Its senders, such as history and the relay,
    send one packet after another in the order in which they asked: none starves another.
    """

    def __init__(
        self, settings: PeerSettings, now: float, before: "OutgoingLimits | None" = None
    ) -> None:
        """`before`: the limits that these replace, whose line goes on."""
        packets, sizes = self._rates = lowest_rates(settings)
        self._packets = TokenBucket(packets, max(1, packets), now) if packets else None
        self._sizes = TokenBucket(sizes, sizes, now) if sizes else None
        self.is_limited = bool(packets or sizes)
        self.burst = sizes or None
        """Bytes that one packet should not exceed; None: no limit."""
        self._looked = now
        self._line: dict[Turn, None] = {} if before is None else before._line

    def differ(self, settings: PeerSettings) -> bool:
        """True if the peer's settings tell other limits than these."""
        return lowest_rates(settings) != self._rates

    def ask(self, turn: Turn, now: float, size: int) -> float:
        """Seconds until the sender should ask again; 0: it may send `size` bytes now.

        It is in the line until then, or until it leaves. A packet larger than a second's bytes
        waits for all of them, and delays those after it.
        """
        if not self.is_limited:
            self.leave(turn)
            return 0.0
        self._looked = now
        turn.size = size
        self._line.setdefault(turn)
        if turn is self.first:
            delay = self._delay(size, now)
        else:
            delay = 0.0 if self._leaves_room(turn, now) else LINE_INTERVAL
        if not delay:
            self.leave(turn)
        return delay

    def leave(self, turn: Turn) -> None:
        """Give up the place in the line, if there is one."""
        was_first = turn is self.first
        self._line.pop(turn, None)
        if was_first and self._line:
            _wake(next(iter(self._line)))

    def wake_all(self) -> None:
        """Let all that wait ask again: the peer is gone."""
        for turn in tuple(self._line):
            _wake(turn)

    @property
    def first(self) -> Turn | None:
        """The sender that is the next to send."""
        return next(iter(self._line), None)

    def has_room(self, now: float, size: int) -> bool:
        """True if nobody waits, and the peer takes a packet of `size` bytes now."""
        self._looked = now
        return not self._line and not self._delay(size, now)

    def most_bytes(self, most: int) -> int:
        """Bytes that a packet may have that is sent now, but at most `most`."""
        return most if self._sizes is None else self._sizes.most(most, self._looked)

    def spend(self, size: int) -> None:
        """Count a packet of `size` bytes, sent in the step of the loop that asked last."""
        if self._packets is not None:
            self._packets.owe(1, self._looked)
        if self._sizes is not None:
            self._sizes.owe(size, self._looked)

    def _delay(self, size: int, now: float) -> float:
        """Seconds until the peer takes a packet."""
        delay = 0.0
        if self._packets is not None:
            delay = self._packets.delay(1, now)
        if self._sizes is not None:
            delay = max(delay, self._sizes.delay(min(size, self.burst or 0), now))
        return delay

    def _leaves_room(self, turn: Turn, now: float) -> bool:
        """True if the peer takes this packet and those of all before it."""
        packets = size = 0
        for each in self._line:
            packets += 1
            size += each.size
            if each is turn:
                break
        return (self._packets is None or self._packets.holds(packets, now)) and (
            self._sizes is None or self._sizes.holds(size, now)
        )


def _wake(turn: Turn) -> None:
    if turn.on_first is not None:
        turn.on_first()


def lowest_rates(settings: PeerSettings) -> tuple[int, int]:
    """Packets and bytes per second that the peer takes of one node at one address; 0: any."""
    packets, sizes = (
        min((rate for rate in (limits.ip, limits.peer) if rate), default=0)
        for limits in (settings.packet_rate_limits, settings.bytes_rate_limits)
    )
    return packets, sizes


NO_OUTGOING_LIMITS = OutgoingLimits(PeerSettings(), 0.0)


def host_of(address: str) -> str:
    """The key under which an address is limited: an IPv4 address, or the network of an IPv6 one."""
    if ":" not in address:
        return address
    network = ipaddress.ip_network((address, NETWORK_BITS), strict=False)
    return str(network)
