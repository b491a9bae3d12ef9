"""A round: finds what two archives lack of each other, and moves it."""

import asyncio

from wakumail.errors import ArchiveError, WakumailError
from wakumail.mail.sync.agreement import Agreement
from wakumail.mail.sync.desk import Desk
from wakumail.mail.sync.initiator import MAX_DIFFERENCES, Initiator
from wakumail.mail.sync.items import ID_SIZE, ITEM_SIZE, Window
from wakumail.mail.sync.mover import MAX_FOUND, Mover
from wakumail.mail.sync.offers import Offerer
from wakumail.mail.sync.outcome import Outcome
from wakumail.mail.sync.packed import by_runs
from wakumail.mail.sync.packets import Close, Ending, Open, Reconcile
from wakumail.mail.sync.taker import Taker
from wakumail.mail.sync.tally import Tally
from wakumail.mail.sync.wire import Wire

MESSAGE_BYTES = 512 << 10
"""Bytes of a message of a round, at most."""

MAX_MOVED = 1_000_000
"""Envelopes of one side that a round moves before it ends; the next one finds the others."""


class RoundFailed(WakumailError):
    """A round ended before its time; the text says why."""

    counter = "sync_rounds_failed"

    def __init__(self, ending: int, text: str) -> None:
        super().__init__(text)
        self.ending = ending


class Round:
    """One round that we open.

    It moves what it finds, while it looks for more; or it only counts that by hours.
    """

    def __init__(
        self,
        number: int,
        window: Window,
        wire: Wire,
        desk: Desk,
        taker: Taker,
        offerer: Offerer,
        agreement: Agreement,
        tally: Tally,
        *,
        moves: bool,
    ) -> None:
        self.number = number
        self.outcome = Outcome(window)
        self._wire = wire
        self._desk = desk
        self._taker = taker
        self._tally = tally
        self._moves = moves
        self._initiator = Initiator(
            window,
            frame_limit=MESSAGE_BYTES,
            max_differences=MAX_MOVED if moves else MAX_DIFFERENCES,
        )
        self._mover = Mover(taker, offerer, agreement, self.outcome, self._initiator.forget)
        self._answers: asyncio.Queue[Reconcile | Close] = asyncio.Queue(1)
        self.awaits = False
        """True while the peer owes us an answer."""

    def answered(self, packet: Reconcile | Close) -> None:
        """Take an answer of the peer; one that nobody waits for is dropped."""
        if self.awaits:
            self.awaits = False
            self._answers.put_nowait(packet)

    async def run(self) -> Outcome:
        """Make the round. RoundFailed, ArchiveError, NegentropyError."""
        try:
            message = await self._desk.reconcile(self._initiator.begin)
            self._wire.send(Open(self.number, *self.outcome.window, message))
            while (reply := await self._reply(await self._answer())) is not None:
                await self._take_up()
                self._wire.send(Reconcile(self.number, reply))
            await self._take_up(last=True)
        except RoundFailed:
            raise
        except WakumailError as error:
            failed = Ending.ARCHIVE_FAILED if isinstance(error, ArchiveError) else Ending.UNREADABLE
            self._wire.send(Close(self.number, failed, ""))
            raise
        finally:
            self._mover.cancel()
        ending = Ending.MOVED if self._moves else Ending.COMPARED
        self._wire.send(Close(self.number, Ending.EQUAL if self.outcome.equal else ending, ""))
        return self.outcome

    async def _answer(self) -> bytes:
        """The next message of the peer."""
        self.awaits = True
        packet = await self._answers.get()
        if isinstance(packet, Close):
            raise RoundFailed(packet.code, packet.text or "the peer ended the round")
        self.outcome.trips += 1
        return packet.message

    async def _reply(self, message: bytes) -> bytes | None:
        """Our next message; None when all differences are found."""
        initiator = self._initiator
        return await self._desk.reconcile(lambda items: initiator.take(message, items))

    async def _take_up(self, *, last: bool = False) -> None:
        """Begin to move what was found, and wait while much is on its way; or count it."""
        outcome, tally = self.outcome, self._tally
        have, need = self._initiator.hand_over()
        had, needed = len(have) // ITEM_SIZE, sum(len(run.ids) for run in need) // ID_SIZE
        outcome.had += had
        outcome.needed += needed
        outcome.full = self._initiator.full
        tally.had += had
        tally.needed += needed
        if self._moves:
            self._mover.begin(have, need)
            await self._mover.wait(0 if last else MAX_FOUND)
        else:
            outcome.note(have, 0)
            outcome.note(await self._taker.locate(by_runs(need)), 1)
