"""The respondent: answers the rounds that a peer opens."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from wakumail.errors import ArchiveError
from wakumail.mail.sync.agreement import TOPICS_DIFFER, Agreement
from wakumail.mail.sync.initiator import Initiator
from wakumail.mail.sync.items import Items, Window
from wakumail.mail.sync.packets import Close, Ending, Open, Reconcile, SyncError
from wakumail.mail.sync.responder import answer
from wakumail.mail.sync.round import MESSAGE_BYTES
from wakumail.mail.sync.side import Side
from wakumail.mail.sync.tally import Tally
from wakumail.mail.sync.wire import Wire

log = logging.getLogger(__name__)


class MessageFlood(SyncError):
    """A second message of a round came before the first was answered."""

    counter = "sync_messages_excess"


class Respondent:
    """Answers one peer. A round that it opens takes the place of the one before.

    `run` starts a task.
    """

    def __init__(
        self,
        wire: Wire,
        side: Side,
        tally: Tally,
        agreement: Agreement,
        run: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._wire = wire
        self._side = side
        self._tally = tally
        self._agreement = agreement
        self._run = run
        self._opened: Open | None = None
        self._next: Open | None = None
        """A round that is opened once the message at hand is answered."""
        self._busy = False
        self._moved_before = self._moved

    @property
    def _moved(self) -> tuple[int, int, int]:
        """Envelopes ever taken, given and refused."""
        tally = self._tally
        return tally.stored, tally.sent, tally.refused.total()

    def open(self, packet: Open) -> None:
        """Take the first message of a round. MessageFlood."""
        if not self._agreement.reached.is_set():
            self._wire.send(Close(packet.round, Ending.TOPICS_DIFFER, TOPICS_DIFFER))
            return
        if self._busy:
            # The peer gave up its last round while a message of it is answered.
            if self._next is not None:
                raise MessageFlood("a third round was opened before the first was answered")
            self._next = packet
            return
        self._opened = packet
        self._moved_before = self._moved
        self._begin(packet, packet.message)

    def take(self, packet: Reconcile) -> None:
        """Take a further message; one of no open round is dropped. MessageFlood."""
        if self._opened is not None and self._opened.round == packet.round:
            self._begin(self._opened, packet.message)

    def close(self, packet: Close) -> None:
        """The peer has ended a round."""
        opened = self._opened
        if opened is None or opened.round != packet.round:
            return
        self._opened = None
        if packet.code in (Ending.EQUAL, Ending.MOVED, Ending.COMPARED):
            self._tally.rounds += 1
            pairs = zip(self._moved, self._moved_before, strict=True)
            self._agreement.moved(*(now - before for now, before in pairs))
        if packet.code == Ending.MOVED:
            self._agreement.differed = True

    def _begin(self, opened: Open, message: bytes) -> None:
        if self._busy:
            raise MessageFlood("a message came before the one before it was answered")
        self._busy = True
        self._run(self._answer(opened, message))

    async def _answer(self, opened: Open, message: bytes) -> None:
        window = Window(opened.lower, opened.upper)

        def work(items: Items) -> tuple[bytes, bool]:
            reply = answer(message, items, window, frame_limit=MESSAGE_BYTES)
            if message is not opened.message:
                return reply, False
            # The peer is not believed: we would have begun with the same message, if all is equal.
            own = Initiator(window, frame_limit=MESSAGE_BYTES).begin(items)
            return reply, own == message

        try:
            reply, are_equal = await self._side.desk.reconcile(work)
        except ArchiveError as error:
            log.error("a round could not be answered: %s", error)
            self._wire.send(Close(opened.round, Ending.ARCHIVE_FAILED, "its archive is damaged"))
        else:
            if are_equal:
                self._agreement.equal(window)
            self._wire.send(Reconcile(opened.round, reply))
        finally:
            self._busy = False
        if self._next is not None:
            following, self._next = self._next, None
            self.open(following)
