"""The mover: moves what a round finds, while the round goes on."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from wakumail.mail.sync.agreement import Agreement
from wakumail.mail.sync.id_set import ids_of
from wakumail.mail.sync.items import ID_SIZE, ITEM_SIZE, Run
from wakumail.mail.sync.offers import Offerer
from wakumail.mail.sync.outcome import Outcome
from wakumail.mail.sync.packed import by_runs
from wakumail.mail.sync.taker import Taker

MAX_FOUND = 50_000
"""Envelopes that a round has found and that are not moved, over which it looks for no more. Some
30 MB of small ones: enough for neither the peer nor our disk to wait."""


class Mover:
    """Moves envelopes between us and one peer, and counts them in the outcome of a round.

    `forget` is called with the ids (joined) of those that were moved.
    """

    def __init__(
        self,
        taker: Taker,
        offerer: Offerer,
        agreement: Agreement,
        outcome: Outcome,
        forget: Callable[[bytes], None],
    ) -> None:
        self._taker = taker
        self._offerer = offerer
        self._agreement = agreement
        self._outcome = outcome
        self._forget = forget
        self._moving: dict[asyncio.Task[None], int] = {}
        """With the number of envelopes that each moves."""

    def begin(self, have: bytes, need: list[Run]) -> None:
        """Begin to offer these items, and to take these runs."""
        if have:
            self._start(self._offer(have), len(have) // ITEM_SIZE)
        if need:
            self._start(self._take(need), sum(len(run.ids) for run in need) // ID_SIZE)

    async def wait(self, most: int = 0) -> None:
        """Wait until at most `most` are not moved. PeerGone, ArchiveError."""
        while sum(self._moving.values()) > most:
            done, _ = await asyncio.wait(self._moving, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                del self._moving[task]
                task.result()

    def cancel(self) -> None:
        """Leave what is not moved."""
        for task in self._moving:
            task.cancel()

    def _start(self, work: Coroutine[Any, Any, None], count: int) -> None:
        self._moving[asyncio.get_running_loop().create_task(work)] = count

    async def _offer(self, items: bytes) -> None:
        self._outcome.given += await self._offerer.offer(items)
        self._forget(ids_of(items))

    async def _take(self, runs: list[Run]) -> None:
        taken = await self._taker.take(by_runs(map(self._agreement.choose_of_run, runs)))
        self._agreement.count(taken)
        self._outcome.stored += taken.stored
        self._outcome.gone += taken.gone
        self._outcome.refused.update(taken.refused.values())
        for run in runs:
            self._forget(run.ids)
