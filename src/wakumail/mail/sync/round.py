"""A round: finds what two archives lack of each other, and moves it."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from wakumail.errors import ArchiveError, WakumailError
from wakumail.mail.sync.agreement import Agreement
from wakumail.mail.sync.desk import Desk
from wakumail.mail.sync.initiator import Initiator
from wakumail.mail.sync.items import ID_SIZE, ITEM_SIZE, Run, Window
from wakumail.mail.sync.offers import Offerer
from wakumail.mail.sync.outcome import Outcome
from wakumail.mail.sync.packed import by_runs
from wakumail.mail.sync.packets import Close, Ending, Open, Reconcile
from wakumail.mail.sync.taker import Taker
from wakumail.mail.sync.wire import Wire

MESSAGE_BYTES = 512 << 10
"""Bytes of a message of a round, at most."""

MAX_MOVED = 50_000
"""Envelopes of one side that a round finds before it ends; the next one finds the others."""

MAX_COMPARED = 250_000
"""As many of a round that moves nothing, and that no other follows."""


class RoundFailed(WakumailError):
    """A round ended before its time; the text says why."""

    counter = "sync_rounds_failed"

    def __init__(self, ending: int, text: str) -> None:
        super().__init__(text)
        self.ending = ending


class Round:
    """One round that we open. It moves what it finds, or only counts it by hours."""

    def __init__(
        self,
        number: int,
        window: Window,
        wire: Wire,
        desk: Desk,
        taker: Taker,
        offerer: Offerer,
        agreement: Agreement,
        *,
        moves: bool,
    ) -> None:
        self.number = number
        self.outcome = Outcome(window)
        self._wire = wire
        self._desk = desk
        self._taker = taker
        self._offerer = offerer
        self._agreement = agreement
        self._moves = moves
        self._initiator = Initiator(
            window,
            frame_limit=MESSAGE_BYTES,
            max_differences=MAX_MOVED if moves else MAX_COMPARED,
        )
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
                self._wire.send(Reconcile(self.number, reply))
            await self._conclude(self._initiator)
        except RoundFailed:
            raise
        except WakumailError as error:
            failed = Ending.ARCHIVE_FAILED if isinstance(error, ArchiveError) else Ending.UNREADABLE
            self._wire.send(Close(self.number, failed, ""))
            raise
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

    async def _conclude(self, initiator: Initiator) -> None:
        """Move what was found, or count it."""
        have, need = initiator.have, initiator.need
        outcome = self.outcome
        outcome.full = initiator.full
        outcome.had = len(have) // ITEM_SIZE
        outcome.needed = sum(len(run.ids) for run in need) // ID_SIZE
        if self._moves:
            await together(self._offer(have), self._take(need))
        else:
            outcome.note(have, 0)
            outcome.note(await self._taker.locate(by_runs(need)), 1)

    async def _offer(self, items: bytes) -> None:
        self.outcome.given = await self._offerer.offer(items)

    async def _take(self, runs: list[Run]) -> None:
        taken = await self._taker.take(by_runs(map(self._agreement.choose_of_run, runs)))
        self._agreement.count(taken)
        self.outcome.stored = taken.stored
        self.outcome.gone = taken.gone
        self.outcome.refused.update(taken.refused.values())


async def together(*work: Coroutine[Any, Any, None]) -> None:
    """Do all of it side by side; the first error ends the rest."""
    tasks = [asyncio.get_running_loop().create_task(each) for each in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
