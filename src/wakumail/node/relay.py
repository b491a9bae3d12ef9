"""The relay: live envelopes go to every peer that wants them and does not have them (6/WAKU1).

The pool (compiled) knows the live envelopes and the peers that have them. The relay asks it in
rounds: at once when envelopes come after a rest, otherwise every ROUND_INTERVAL, so that a busy
node sends them in batches. A peer that reads slowly is passed over until it has caught up. Its
envelopes wait in the pool, which has a bound for all peers together; it never sees those that
expire meanwhile.
"""

import asyncio
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from wakumail.base.turns import TURN_TIME
from wakumail.counters import Counters
from wakumail.node.link import Link
from wakumail.waku.confirmations import MAX_CONFIRMABLE
from wakumail.waku.envelope import Batch
from wakumail.waku.pool import Pool
from wakumail.waku.rate_limits import Turn

log = logging.getLogger(__name__)

ROUND_INTERVAL = 0.1
"""Seconds between two rounds to the peers (status-go: 0.3)."""

MAX_RELAY_PACKET = 256 << 10
"""Bytes of a packet, unless it has one larger envelope. A peer that does not read costs this."""

REOFFER_INTERVAL = 1.0
"""Seconds between two changes of one peer's wishes that are applied. With each the peer is offered
all live envelopes again."""

LAST_REOFFER_INTERVAL = 60.0
"""The same for a peer that keeps changing them. The interval doubles up to this with each change,
until no change has come for that long."""

EXPIRY_INTERVAL = 1.0
"""Seconds between two removals of expired envelopes."""


@dataclass(slots=True, eq=False)
class RelayPeer:
    """A peer as the relay sees it."""

    link: Link
    slot: int
    wishes_changed: bool = True
    """True until the pool is told of the wishes."""
    next_offer: float = 0.0
    """Time of the loop's clock before which changed wishes are not applied."""
    reoffer_interval: float = 0.0
    has_topic_limits: bool = False
    turn: Turn = field(default_factory=Turn)
    """Among those who send the peer packets within its limits."""


class Relay:
    """Sends live envelopes on, on one event loop.

    A light node sends only the envelopes that it publishes itself (6/WAKU1, "Light Node Field").
    """

    def __init__(
        self, counters: Counters, *, light: bool, relay_memory: int, max_reply: int
    ) -> None:
        self.pool = Pool(max_bytes=relay_memory)
        """All live envelopes. Duplicates are found here."""
        self._outgoing = Pool(max_bytes=relay_memory) if light else self.pool
        """The envelopes for peers, each of which has a slot; another pool only in a light node."""
        self._counters = counters
        self._light = light
        self._max_packet = min(max_reply, MAX_RELAY_PACKET)
        self._loop = asyncio.get_running_loop()
        self._peers: dict[Link, RelayPeer] = {}
        self._round_timer: asyncio.Handle | None = None
        """Begins the next round, or goes on with this one."""
        self._in_round = False
        self._another_round = False
        """True if another round has to follow this one."""
        self._last_round = 0.0
        self._unsent_bytes = 0
        """Bytes, as the pool counts them, that came since the last round began."""
        self._expiry_timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Send nothing more."""
        for timer in (self._round_timer, self._expiry_timer):
            if timer is not None:
                timer.cancel()
        self._peers.clear()

    # -- peers --------------------------------------------------------------------------------

    def join(self, link: Link) -> None:
        """Offer a peer that is ready all live envelopes."""
        self._peers[link] = RelayPeer(link, self._outgoing.join())
        self._plan_round()

    def leave(self, link: Link) -> None:
        """Forget a peer that is gone."""
        if (peer := self._peers.pop(link, None)) is not None:
            self._outgoing.leave(peer.slot)

    def wishes_changed(self, link: Link) -> None:
        """Apply the Status Update of a peer, in one of the next rounds."""
        self._peers[link].wishes_changed = True
        self._plan_round()

    def on_writable(self, link: Link) -> None:
        """Go on with a peer that was passed over and has caught up."""
        if link in self._peers:
            self._plan_round()

    # -- envelopes ----------------------------------------------------------------------------

    def take(self, batch: Batch, sender: Link | None) -> None:
        """Relay the new envelopes of a batch; the others become DUPLICATE in it.

        `sender`: None for envelopes of our own.
        """
        now = int(time.time())
        slot = None if sender is None or self._light else self._peers[sender].slot
        if not self.pool.add(batch, slot, now):
            return
        if self._expiry_timer is None:
            self._expiry_timer = self._loop.call_later(EXPIRY_INTERVAL, self._expire)
        if self._light and sender is None:
            self._outgoing.add(batch, None, now)
        if sender is None or not self._light:
            self._unsent_bytes += batch.accepted_size + batch.accepted * self._outgoing.overhead
            self._plan_round()

    def _expire(self) -> None:
        now = int(time.time())
        self.pool.expire(now)
        self._outgoing.expire(now)
        self._expiry_timer = None
        if self.pool.envelopes:
            self._expiry_timer = self._loop.call_later(EXPIRY_INTERVAL, self._expire)

    # -- rounds -------------------------------------------------------------------------------

    def _plan_round(self) -> None:
        """Begin a round ROUND_INTERVAL after the last, or now if the pool could soon evict
        envelopes that no peer was sent yet. While a round goes on, another has to follow it.
        """
        if self._in_round:
            self._another_round = True
            return
        if 2 * self._unsent_bytes > self._outgoing.max_bytes:
            if self._round_timer is not None:
                self._round_timer.cancel()
            self._begin_round()
        elif self._round_timer is None:
            due = self._last_round + ROUND_INTERVAL
            self._round_timer = self._loop.call_at(max(due, self._loop.time()), self._begin_round)

    def _begin_round(self) -> None:
        self._last_round = self._loop.time()
        self._in_round, self._another_round, self._unsent_bytes = True, False, 0
        self._go_round(iter(tuple(self._peers.values())))

    def _go_round(self, peers: Iterator[RelayPeer]) -> None:
        """Serve the peers until the turn is over, then go on in the next round of the loop."""
        turn_ends = time.monotonic() + TURN_TIME
        for peer in peers:
            try:
                served = self._serve(peer, turn_ends)
            except Exception:
                log.exception("peer %s could not be sent envelopes", peer.link.address)
                peer.link.peer.limits.leave(peer.turn)
                served = True
            if not served:
                self._another_round = True
            if time.monotonic() > turn_ends:
                self._round_timer = self._loop.call_soon(self._go_round, peers)
                return
        self._in_round, self._round_timer = False, None
        if self._another_round:
            self._plan_round()

    def _serve(self, peer: RelayPeer, turn_ends: float) -> bool:
        """Send a peer the envelopes that it wants; False if the next round has to go on with it.

        It has to if the peer takes packets for longer than the turn.
        """
        link, now = peer.link, self._loop.time()
        if link not in self._peers:
            return True
        if peer.wishes_changed:
            if now < peer.next_offer:
                link.peer.limits.leave(peer.turn)
                return False
            self._tell_wishes(peer, now)
        outbox, limits = link.outbox, link.peer.limits
        while outbox.writable:
            seconds = int(time.time())
            if limits.is_limited:
                size = self._outgoing.next_size(peer.slot, now=seconds)
                if not size:
                    limits.leave(peer.turn)
                elif limits.ask(peer.turn, now, size):
                    return False
            packet = self._outgoing.take(
                peer.slot,
                max_bytes=limits.most_bytes(self._max_packet),
                max_envelopes=MAX_CONFIRMABLE,
                now=seconds,
            )
            if packet is None:
                # Envelopes over a topic limit of the peer may be sent a second later.
                return not (peer.has_topic_limits and self._outgoing.envelopes)
            self._counters.add("packets_relayed")
            self._counters.add("bytes_relayed", len(packet))
            link.peer.send_messages(packet)
            outbox.flush()
            if time.monotonic() > turn_ends:
                return False
        return True

    def _tell_wishes(self, peer: RelayPeer, now: float) -> None:
        settings = peer.link.peer.settings
        self._outgoing.set_interest(peer.slot, settings.interest, settings.pow)
        envelopes, size = settings.packet_rate_limits.topic, settings.bytes_rate_limits.topic
        self._outgoing.set_topic_limits(peer.slot, envelopes, size)
        peer.has_topic_limits = bool(envelopes or size)
        peer.wishes_changed = False
        quiet = now > peer.next_offer + peer.reoffer_interval
        peer.reoffer_interval = (
            REOFFER_INTERVAL if quiet else min(2 * peer.reoffer_interval, LAST_REOFFER_INTERVAL)
        )
        peer.next_offer = now + peer.reoffer_interval
