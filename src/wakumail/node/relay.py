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
from dataclasses import dataclass

from wakumail.counters import Counters
from wakumail.node.link import Link
from wakumail.node.turns import TURN_TIME
from wakumail.waku.envelope import Batch
from wakumail.waku.pool import Pool

log = logging.getLogger(__name__)

ROUND_INTERVAL = 0.1
"""Seconds between two rounds to the peers (status-go: 0.3)."""

MAX_RELAY_PACKET = 256 << 10
"""Bytes of a packet, unless it is of one larger envelope: what a peer that does not read costs."""

REOFFER_INTERVAL = 1.0
"""Seconds between two changes of one peer's wishes that are acted on: each has it offered all that
is live."""

LAST_REOFFER_INTERVAL = 60.0
"""The same for a peer that keeps changing them: it doubles up to this with each change, until none
has come for as long."""

EXPIRY_INTERVAL = 1.0
"""Seconds between two looks for what has expired."""


@dataclass(slots=True, eq=False)
class RelayPeer:
    """A peer as the relay sees it."""

    link: Link
    slot: int
    wishes_changed: bool = True
    """Whether the pool does not know yet what the peer wants now."""
    next_offer: float = 0.0
    reoffer_interval: float = 0.0
    has_topic_limits: bool = False


class Relay:
    """Sends live envelopes on; on one event loop.

    A light node sends on nothing but what it publishes itself (6/WAKU1, "Light Node Field").
    """

    def __init__(
        self, counters: Counters, *, light: bool, relay_memory: int, max_reply: int
    ) -> None:
        self.pool = Pool(max_bytes=relay_memory)
        """All live envelopes: what comes again is known."""
        self._outgoing = Pool(max_bytes=relay_memory) if light else self.pool
        """What peers are sent, each in its slot."""
        self._counters = counters
        self._light = light
        self._max_packet = min(max_reply, MAX_RELAY_PACKET)
        self._loop = asyncio.get_running_loop()
        self._listeners: dict[Link, RelayPeer] = {}
        self._round: asyncio.Handle | None = None
        """Begins the next round, or goes on with this one."""
        self._going = False
        self._again = False
        """Whether a round has to follow the one that goes on."""
        self._last_round = 0.0
        self._unsent = 0
        """Bytes, as the pool counts them, that came since the last round began."""
        self._expiry: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Send nothing more."""
        for timer in (self._round, self._expiry):
            if timer is not None:
                timer.cancel()
        self._listeners.clear()

    # -- peers --------------------------------------------------------------------------------

    def join(self, link: Link) -> None:
        """A peer is ready: offer it what is live."""
        self._listeners[link] = RelayPeer(link, self._outgoing.join())
        self._plan_round()

    def leave(self, link: Link) -> None:
        """A peer is gone."""
        if (listener := self._listeners.pop(link, None)) is not None:
            self._outgoing.leave(listener.slot)

    def wishes_changed(self, link: Link) -> None:
        """A peer has sent a Status Update."""
        self._listeners[link].wishes_changed = True
        self._plan_round()

    def on_writable(self, link: Link) -> None:
        """A peer that was passed over has caught up."""
        if link in self._listeners:
            self._plan_round()

    # -- envelopes ----------------------------------------------------------------------------

    def take(self, batch: Batch, sender: Link | None) -> None:
        """Relay what is new in a batch; None for our own. What is not becomes DUPLICATE in it."""
        now = int(time.time())
        slot = None if sender is None or self._light else self._listeners[sender].slot
        if not self.pool.add(batch, slot, now):
            return
        if self._expiry is None:
            self._expiry = self._loop.call_later(EXPIRY_INTERVAL, self._expire)
        if self._light and sender is None:
            self._outgoing.add(batch, None, now)
        if sender is None or not self._light:
            self._unsent += batch.accepted_size + batch.accepted * self._outgoing.overhead
            self._plan_round()

    def _expire(self) -> None:
        now = int(time.time())
        self.pool.expire(now)
        self._outgoing.expire(now)
        self._expiry = None
        if self.pool.envelopes:
            self._expiry = self._loop.call_later(EXPIRY_INTERVAL, self._expire)

    # -- rounds -------------------------------------------------------------------------------

    def _plan_round(self) -> None:
        """Begin a round ROUND_INTERVAL after the last, or now if the pool could soon evict what no
        peer was sent yet. While a round goes on, some peers were served already: another follows.
        """
        if self._going:
            self._again = True
            return
        if 2 * self._unsent > self._outgoing.max_bytes:
            if self._round is not None:
                self._round.cancel()
            self._begin_round()
        elif self._round is None:
            due = self._last_round + ROUND_INTERVAL
            self._round = self._loop.call_at(max(due, self._loop.time()), self._begin_round)

    def _begin_round(self) -> None:
        self._last_round = self._loop.time()
        self._going, self._again, self._unsent = True, False, 0
        self._go_round(iter(tuple(self._listeners.values())))

    def _go_round(self, listeners: Iterator[RelayPeer]) -> None:
        """Serve the peers until the turn is over."""
        turn_ends = time.monotonic() + TURN_TIME
        for listener in listeners:
            try:
                served = self._serve(listener, turn_ends)
            except Exception:
                log.exception("peer %s could not be sent envelopes", listener.link.address)
                served = True
            if not served:
                self._again = True
            if time.monotonic() > turn_ends:
                self._round = self._loop.call_soon(self._go_round, listeners)
                return
        self._going, self._round = False, None
        if self._again:
            self._plan_round()

    def _serve(self, listener: RelayPeer, turn_ends: float) -> bool:
        """Send a peer all that it wants; False when it has to be asked again, at the next round.

        So it has when it takes packets for longer than the turn.
        """
        link, now = listener.link, self._loop.time()
        if link not in self._listeners:
            return True
        if listener.wishes_changed:
            if now < listener.next_offer:
                return False
            self._tell_wishes(listener, now)
        outbox = link.outbox
        while outbox.writable:
            if outbox.pace.delay(now):
                return False
            packet = self._outgoing.take(
                listener.slot,
                max_bytes=min(self._max_packet, outbox.pace.burst or self._max_packet),
                now=int(time.time()),
            )
            if packet is None:
                # Of a topic of which the peer has had enough there may be more in a second.
                return not (listener.has_topic_limits and self._outgoing.envelopes)
            outbox.pace.spend(len(packet), now)
            self._counters.add("packets_relayed")
            self._counters.add("bytes_relayed", len(packet))
            link.peer.send_messages(packet)
            outbox.flush()
            if time.monotonic() > turn_ends:
                return False
        return True

    def _tell_wishes(self, listener: RelayPeer, now: float) -> None:
        settings = listener.link.peer.settings
        self._outgoing.set_interest(listener.slot, settings.interest, settings.pow)
        envelopes, size = settings.packet_rate_limits.topic, settings.bytes_rate_limits.topic
        self._outgoing.set_topic_limits(listener.slot, envelopes, size)
        listener.has_topic_limits = bool(envelopes or size)
        listener.wishes_changed = False
        quiet = now > listener.next_offer + listener.reoffer_interval
        listener.reoffer_interval = (
            REOFFER_INTERVAL if quiet else min(2 * listener.reoffer_interval, LAST_REOFFER_INTERVAL)
        )
        listener.next_offer = now + listener.reoffer_interval
