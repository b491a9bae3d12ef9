"""The intake: messages of the log go into the archive."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial

from wakumail.archive.results import LogPlace
from wakumail.counters import Counters
from wakumail.ops.cluster.log import LogMessage
from wakumail.ops.cluster.log_message import NotABatch, unpack
from wakumail.ops.cluster.log_order import LogOrder
from wakumail.ops.cluster.logged_store import LoggedStore
from wakumail.ops.cluster.placed import Placed
from wakumail.ops.cluster.publisher import OwnMessage
from wakumail.waku.envelope import Batch, parse_stream

log = logging.getLogger(__name__)

FRESH = 60.0
"""Seconds: envelopes of a message up to this age may still be live, and are relayed."""

ROOM_INTERVAL = 0.02
"""Seconds between two looks whether a full store has room."""


class Intake:
    """Puts the messages of the log `place` names into the store, from behind that place on.

    on_live: called with envelopes of other hosts that may be live, once they are on disk.
    """

    def __init__(
        self,
        store: LoggedStore,
        place: LogPlace,
        counters: Counters,
        on_live: Callable[[Batch], None],
    ) -> None:
        self.order = LogOrder(place.sequence)
        self._store = store
        self._log_place = place
        self._counters = counters
        self._on_live = on_live
        self._next_own = 1
        self._early: dict[int, OwnMessage] = {}
        """Messages of our own that the log had before an earlier one, by their number."""

    @property
    def place(self) -> LogPlace:
        """The place up to which everything is in the archive, or on its way there."""
        return self._log_place._replace(sequence=self.order.place)

    def acknowledged(self, message: OwnMessage, sequence: int) -> None:
        """Store a message of our own: the log has it with this sequence.

        It does not wait for those of others before it, for each message stands for itself. But the
        place stays before them.
        """
        self.order.acknowledge(sequence)
        self._take_own(message)

    def envelopes(self, message: LogMessage) -> Batch:
        """The envelopes of a message that was read; none if it is no batch of ours."""
        try:
            return unpack(message.data)
        except NotABatch as error:
            self._counters.add(error.counter)
            log.warning("message %d of the log is left out: %s", message.sequence, error)
            return _no_envelopes()

    def read(self, message: LogMessage, batch: Batch) -> None:
        """Store a message that was read, with its envelopes. ValueError if it leaves others out."""
        if not self.order.read(message.sequence):
            return
        self._counters.add("cluster_messages_read")
        is_fresh = time.time() - message.seconds < FRESH
        on_live = partial(self._on_live, batch) if is_fresh else _nothing
        self._store.put_here(batch, Placed(self.place, on_live))

    def leave_out(self, last: int) -> None:
        """Go on behind `last`, though messages up to it are missing: they are a hole from now on.

        What follows is stored and confirmed, for each message stands for itself. But the place
        stays before the hole.
        """
        self.order.leave_out(last)

    def fill(self, first: int, last: int) -> None:
        """Take note that the archive got these messages of holes in another way."""
        if self.order.fill(first, last):
            self._store.put_here(_no_envelopes(), Placed(self.place, _nothing))

    async def room(self) -> None:
        """Wait until the store has room."""
        while self._store.full_here:  # noqa: ASYNC110 - its `on_room` is the server's
            await asyncio.sleep(ROOM_INTERVAL)

    def _take_own(self, message: OwnMessage) -> None:
        """Store our message. Its batches are reported after those of all our earlier messages.

        Duplicates in them may be new ones of an earlier message, so the order has to be kept.
        """
        if message.number != self._next_own:
            self._early[message.number] = message
            self._store.put_here(unpack(message.payload), Placed(self.place, _nothing))
            return
        self._report(message)
        while (early := self._early.pop(self._next_own, None)) is not None:
            self._report(early)

    def _report(self, message: OwnMessage) -> None:
        self._next_own = message.number + 1
        message.reported = True
        self._store.awaited_bytes -= message.memory
        entries = message.entries
        if message.is_part:
            entries = [(unpack(message.payload), _nothing), *entries]
        *others, (batch, done) = entries
        for each in others:
            self._store.put_here(*each)
        self._store.put_here(batch, Placed(self.place, done))


def _no_envelopes() -> Batch:
    return parse_stream(b"", final=True)[0]


def _nothing() -> None:
    """There is nobody to report to."""
