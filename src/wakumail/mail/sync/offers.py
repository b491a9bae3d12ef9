"""Offers: telling a peer of our items, and taking what it tells us of."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

from wakumail.mail.sync.desk import Desk
from wakumail.mail.sync.id_set import IdSet, ids_of
from wakumail.mail.sync.items import ID_SIZE
from wakumail.mail.sync.packed import are_some_of, by_items, in_packets
from wakumail.mail.sync.packets import Offer, Stored, SyncError, SyncMalformed, lasting
from wakumail.mail.sync.remembered import Remembered
from wakumail.mail.sync.taker import Taken, Taker
from wakumail.mail.sync.tally import Tally
from wakumail.mail.sync.wire import Wire

MAX_OFFERS = 4
"""Offers of one side that may be unanswered."""

RELAY_TIME = 2.0
"""Seconds after an offer of envelopes that have just arrived, in which the relay may bring them."""


class OfferFlood(SyncError):
    """The peer offers more at a time than it may."""

    counter = "sync_offers_excess"


class UnaskedStored(SyncError):
    """The peer says that it has stored what we did not offer."""

    counter = "sync_stored_unasked"


class Offerer:
    """Offers our items to one peer. Those that it refused for good are not offered again."""

    def __init__(self, wire: Wire, tally: Tally) -> None:
        self._wire = wire
        self._tally = tally
        self._claimed = tally.sent
        """Of all that were sent: those of earlier sessions, and those that the peer has stored."""
        self._numbers = count(1)
        self._slots = asyncio.Semaphore(MAX_OFFERS)
        self._offered: dict[int, tuple[bytes, asyncio.Future[Stored]]] = {}
        """By their numbers: the ids (joined) of each, and the answer to it."""
        self._refused = Remembered()

    @property
    def owed(self) -> object:
        """The oldest offer to which the peer owes us an answer (see Debts)."""
        return next(iter(self._offered), None)

    async def offer(self, items: bytes, *, arrived: bool = False) -> int:
        """Offer items, and wait until the peer has those on disk that it takes; number stored."""
        items = self._refused.out_of_items(items)
        stored = 0
        for some in in_packets(items):
            stored += await self._offer(some, arrived=arrived)
        return stored

    async def _offer(self, items: bytes, *, arrived: bool) -> int:
        async with self._slots:
            number = next(self._numbers)
            answer: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
            self._offered[number] = ids_of(items), answer
            self._wire.send(Offer(number, arrived, items))
            stored = await answer
        self._refused.add(lasting(stored.refused))
        return stored.stored

    def stored(self, packet: Stored) -> None:
        """Take the answer to an offer. UnaskedStored."""
        if packet.offer not in self._offered:
            raise UnaskedStored(f"no offer {packet.offer} is open")
        offered, answer = self._offered.pop(packet.offer)
        refused = b"".join(identity for identity, _ in packet.refused)
        taken = (len(offered) - len(refused)) // ID_SIZE
        if not are_some_of(refused, offered) or packet.stored > taken:
            raise UnaskedStored(f"more stored or refused than offer {packet.offer} has")
        self._claimed += packet.stored
        if self._claimed > self._tally.sent:
            raise UnaskedStored("more stored than it was sent")
        if not answer.done():
            answer.set_result(packet)


class Receiver:
    """Takes what one peer offers.

    `run` starts a task; `choose` leaves out the items that we would not take; `on_taken` is called
    with the outcome of each offer.
    """

    def __init__(
        self,
        wire: Wire,
        desk: Desk,
        taker: Taker,
        run: Callable[[Coroutine[Any, Any, None]], None],
        choose: Callable[[bytes], bytes],
        on_taken: Callable[[Taken], None],
    ) -> None:
        self._wire = wire
        self._desk = desk
        self._taker = taker
        self._run = run
        self._choose = choose
        self._on_taken = on_taken
        self._open = 0

    def offered(self, packet: Offer) -> None:
        """Take an offer. OfferFlood, SyncMalformed."""
        if self._open == MAX_OFFERS:
            raise OfferFlood(f"more than {MAX_OFFERS} offers at a time")
        ids = ids_of(packet.items)
        if len(IdSet().add(ids)) != len(ids):
            raise SyncMalformed("packet offer: an item twice")
        self._open += 1
        self._run(self._take(packet))

    async def _take(self, offer: Offer) -> None:
        if offer.arrived:
            await asyncio.sleep(RELAY_TIME)
        items = self._choose(offer.items)
        if items:
            items = await self._desk.missing(items)
        taken = await self._taker.take(by_items(items))
        self._on_taken(taken)
        self._open -= 1
        self._wire.send(Stored(offer.offer, tuple(taken.refused.items()), taken.stored))
