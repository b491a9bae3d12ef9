"""The taker: wants envelopes of a peer, judges them and stores them."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count

from wakumail.archive.store import Store
from wakumail.base.rlp import split_list
from wakumail.errors import RlpError
from wakumail.mail.sync.giver import GIVEN_BYTES, MAX_WANTS
from wakumail.mail.sync.id_set import ids_of
from wakumail.mail.sync.packed import are_some_of, in_window
from wakumail.mail.sync.packets import (
    Envelopes,
    Found,
    Refusal,
    Seek,
    SyncError,
    SyncMalformed,
    Want,
)
from wakumail.mail.sync.wire import Wire
from wakumail.waku.envelope import Batch, Rules, Verdict
from wakumail.waku.fetched import AskedIds, judge_fetched

REFUSALS: dict[Verdict, Refusal] = {
    Verdict.LOW_POW: Refusal.LOW_POW,
    Verdict.TOO_LARGE: Refusal.TOO_LARGE,
    Verdict.UNWANTED_TOPIC: Refusal.UNWANTED_TOPIC,
    Verdict.TTL_ZERO: Refusal.TTL_ZERO,
    Verdict.VERY_OLD: Refusal.OUTSIDE_WINDOW,
    Verdict.FROM_FUTURE: Refusal.OUTSIDE_WINDOW,
}
"""The refusal of each verdict of `judge_fetched`."""


MAX_UNSTORED = 8 << 20
"""Bytes of memory of a peer's envelopes that wait for their commit; over it no more are wanted."""

LIST_HEADER = 9
"""Bytes before the envelopes of a packet, at most."""


class Unasked(SyncError):
    """The peer sent an envelope that was not asked for, one twice, or one with another hash."""

    counter = "sync_envelopes_unasked"


@dataclass(slots=True)
class Taken:
    """The outcome of a transfer; complete once everything is on disk."""

    stored: int = 0
    gone: int = 0
    """Envelopes that the peer no longer has."""
    refused: dict[bytes, Refusal] = field(default_factory=dict)
    """By id."""


@dataclass(slots=True)
class _Transfer:
    """A transfer under way."""

    taken: Taken
    done: asyncio.Future[None]
    open: int = 0
    """Wants to be sent or answered, and batches to be committed."""

    def close(self) -> None:
        """One of the open ones is closed."""
        self.open -= 1
        if not self.open and not self.done.done():
            self.done.set_result(None)


@dataclass(slots=True)
class _Asked:
    """A want whose answer is not complete."""

    awaited: AskedIds
    transfer: _Transfer | None = None
    located: asyncio.Future[bytes] | None = None
    """For a want of items alone."""
    times: tuple[int, int] = (0, 0)
    """The first and the last at which these can have been created, in Unix seconds."""
    number: int = 0


class Taker:
    """Wants envelopes of one peer.

    `rules` gives our rules of the moment, `bounds` the first and last creation time taken (Unix
    seconds). `on_batch` gets each batch that went to the store, `on_ids` the joined ids of what
    the peer was asked for.
    """

    def __init__(
        self,
        wire: Wire,
        store: Store,
        rules: Callable[[], Rules],
        bounds: Callable[[], tuple[int, int]],
        on_batch: Callable[[Batch], None],
        on_ids: Callable[[bytes], None],
    ) -> None:
        self._wire = wire
        self._store = store
        self._rules = rules
        self._bounds = bounds
        self._on_batch = on_batch
        self._on_ids = on_ids
        self._numbers = count(1)
        self._slots = asyncio.Semaphore(MAX_WANTS)
        self._asked: deque[_Asked] = deque()
        self._unstored = 0
        self._room = asyncio.Event()
        self._room.set()

    @property
    def owed(self) -> object:
        """The envelopes that the peer owes us (see Debts)."""
        return (self._asked[0].number, self._asked[0].awaited.left) if self._asked else None

    async def take(self, wants: Iterable[tuple[Want | Seek, bytes]]) -> Taken:
        """Want these (see `by_items` and `by_runs`), and wait until all of them are on disk."""
        transfer = _Transfer(Taken(), asyncio.get_running_loop().create_future(), open=1)
        for want, ids in wants:
            await self._room.wait()
            transfer.open += 1
            await self._ask(want, _Asked(AskedIds(ids), transfer))
        transfer.close()
        await transfer.done
        return transfer.taken

    async def locate(self, wants: Iterable[tuple[Seek, bytes]]) -> bytes:
        """The items of these (see `by_runs`), packed, as the peer tells them."""
        found = b""
        for want, ids in wants:
            located: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            times = min(run.first for run in want.runs), max(run.last for run in want.runs)
            asked = _Asked(AskedIds(ids), located=located, times=times)
            await self._ask(want._replace(locates=True), asked)
            found += await located
        return found

    async def _ask(self, want: Want | Seek, asked: "_Asked") -> None:
        await self._slots.acquire()
        asked.number = next(self._numbers)
        self._asked.append(asked)
        self._wire.send(want._replace(want=asked.number))

    def found(self, packet: Found) -> None:
        """Take the items that the peer was asked to locate. SyncError for any others."""
        if not self._asked or self._asked[0].number != packet.want:
            raise Unasked("items that were not asked for")
        asked = self._asked[0]
        if asked.located is None or not are_some_of(ids_of(packet.items), asked.awaited.ids):
            raise Unasked("items that were not asked for")
        if in_window(packet.items, *asked.times) != packet.items:
            raise Unasked("items of other times than those that were asked for")
        self._asked.popleft()
        self._slots.release()
        if not asked.located.done():
            asked.located.set_result(packet.items)

    def received(self, packet: Envelopes) -> None:
        """Take envelopes of the peer. SyncError for any that were not asked for."""
        if not self._asked or self._asked[0].number != packet.want:
            raise Unasked("envelopes that were not asked for")
        asked = self._asked[0]
        if (transfer := asked.transfer) is None:
            raise Unasked("envelopes, where only their items were asked for")
        taken = transfer.taken
        try:
            if len(packet.envelopes) > GIVEN_BYTES + LIST_HEADER:
                split_list(packet.envelopes, max_items=1)
            batch, strangers = judge_fetched(
                packet.envelopes, self._rules(), *self._bounds(), asked.awaited
            )
        except RlpError as error:
            raise SyncMalformed(f"envelopes: {error}") from error
        if not packet.last and not batch:
            raise SyncMalformed("packet envelopes: none, and more to come")
        if strangers:
            raise Unasked("an envelope that was not asked for, came twice, or has another hash")
        taken.refused |= _refused(batch)
        if batch.accepted:
            self._put(batch, transfer)
        if packet.last:
            taken.gone += asked.awaited.left
            self._on_ids(asked.awaited.ids)
            self._asked.popleft()
            self._slots.release()
            transfer.close()

    def _put(self, batch: Batch, transfer: _Transfer) -> None:
        transfer.open += 1
        self._unstored += batch.memory
        if self._unstored > MAX_UNSTORED:
            self._room.clear()
        self._store.put_here(batch, lambda: self._stored(batch, transfer))
        self._on_batch(batch)

    def _stored(self, batch: Batch, transfer: _Transfer) -> None:
        """A batch is on disk."""
        transfer.taken.stored += batch.accepted
        self._unstored -= batch.memory
        if self._unstored <= MAX_UNSTORED:
            self._room.set()
        transfer.close()


def _refused(batch: Batch) -> dict[bytes, Refusal]:
    if batch.accepted == len(batch):
        return {}
    verdicts = map(batch.verdict, range(len(batch)))
    return {
        envelope.hash: REFUSALS[verdict]
        for envelope, verdict in zip(batch, verdicts, strict=True)
        if verdict is not Verdict.ACCEPTED
    }
