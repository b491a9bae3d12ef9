"""The driver: makes our rounds with a peer."""

import asyncio
import logging
from itertools import count

from wakumail.errors import ArchiveError
from wakumail.mail.sync.agreement import TOPICS_DIFFER, Agreement
from wakumail.mail.sync.items import Window
from wakumail.mail.sync.offers import Offerer
from wakumail.mail.sync.outcome import Outcome
from wakumail.mail.sync.packets import Close, Ending, Reconcile
from wakumail.mail.sync.round import Round, RoundFailed
from wakumail.mail.sync.side import Side
from wakumail.mail.sync.taker import Taker
from wakumail.mail.sync.tally import Tally
from wakumail.mail.sync.window import SETTLING
from wakumail.mail.sync.wire import Wire

log = logging.getLogger(__name__)

ROUNDS_AT_ONCE = 3
"""Rounds after the first, while each moves something: the last shows that both are equal."""


class Driver:
    """Makes rounds with one peer: one at a time, whoever asks for it.

    Our rounds have the numbers `first`, `first` + 2 and so on, those of the peer the others.
    """

    def __init__(
        self,
        name: str,
        wire: Wire,
        side: Side,
        tally: Tally,
        agreement: Agreement,
        taker: Taker,
        offerer: Offerer,
        *,
        first: int,
    ) -> None:
        self.due = asyncio.Event()
        """Set it for a round before its time."""
        self._name = name
        self._wire = wire
        self._side = side
        self._tally = tally
        self._agreement = agreement
        self._taker = taker
        self._offerer = offerer
        self._numbers = count(first, 2)
        self._turn = asyncio.Lock()
        self._round: Round | None = None

    @property
    def owed(self) -> object:
        """The answer that the peer owes us (see Debts)."""
        own = self._round
        return (own.number, own.outcome.trips) if own is not None and own.awaits else None

    def answered(self, packet: Reconcile | Close) -> None:
        """Take an answer of the peer; one for no round of ours is dropped."""
        if self._round is not None and self._round.number == packet.round:
            self._round.answered(packet)

    async def run(self) -> None:
        """Make rounds: at the start, again when the live relay has settled, then regularly.

        NegentropyError.
        """
        pause = 2.0 * SETTLING
        while True:
            self.due.clear()
            try:
                await self.make_equal()
            except (RoundFailed, ArchiveError) as error:
                self._tally.rounds_failed += 1
                known = self._tally.problem == str(error)
                self._tally.problem = str(error)
                level = logging.DEBUG if known else logging.WARNING
                log.log(level, "sync with %s: %s", self._name, error)
            try:
                async with asyncio.timeout(min(pause, self._side.sync_interval)):
                    await self.due.wait()
            except TimeoutError:
                pass
            pause = self._side.sync_interval

    async def make(self, window: Window | None = None, *, moves: bool = True) -> Outcome:
        """Make one round, over all of the agreed window or the part of it in `window`.

        RoundFailed, ArchiveError, NegentropyError.
        """
        async with self._turn:
            await self._agreement.greeted.wait()
            if not self._agreement.reached.is_set():
                raise RoundFailed(Ending.TOPICS_DIFFER, TOPICS_DIFFER)
            whole = self._agreement.window()
            if window is not None and whole is not None:
                first, end = max(window.first, whole.first), min(window.end, whole.end)
                whole = Window(first, end) if first < end else None
            if whole is None:
                raise RoundFailed(Ending.COMPARED, "no time is kept by both")
            own = self._round = Round(
                next(self._numbers),
                whole,
                self._wire,
                self._side.desk,
                self._taker,
                self._offerer,
                self._agreement,
                self._tally,
                moves=moves,
            )
            try:
                outcome = await own.run()
            finally:
                self._round = None
            self._count(outcome)
            outcome.agreed = outcome.equal or (moves and not outcome.moved)
            if outcome.agreed:
                self._agreement.equal(whole, outcome.had + outcome.needed)
            return outcome

    async def make_equal(self, window: Window | None = None) -> Outcome:
        """Make rounds until both have the same; the outcome of all together.

        As `make`. If the last of ROUNDS_AT_ONCE still moves something, the next time has to do. A
        round that ended early does not count if it moved half of what it found.
        """
        outcome = latest = await self.make(window)
        left = ROUNDS_AT_ONCE
        while left and not latest.agreed:
            latest = await self.make(window)
            outcome.add(latest)
            moved_half = 2 * (latest.stored + latest.given) >= latest.had + latest.needed
            left -= not (latest.full and moved_half)
        return outcome

    def _count(self, outcome: Outcome) -> None:
        self._tally.rounds += 1
        self._agreement.differed |= outcome.moved
        self._agreement.moved(outcome.stored, outcome.given, outcome.refused.total())
