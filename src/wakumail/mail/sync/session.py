"""A session: one connection to a peer that we sync with."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from wakumail.errors import (
    ArchiveError,
    DisconnectReason,
    PeerGone,
    ProtocolError,
    WakumailError,
)
from wakumail.mail.sync.agreement import Agreement
from wakumail.mail.sync.debts import Debts
from wakumail.mail.sync.driver import Driver
from wakumail.mail.sync.follower import Follower
from wakumail.mail.sync.giver import Giver
from wakumail.mail.sync.items import Window
from wakumail.mail.sync.message_errors import NegentropyError
from wakumail.mail.sync.offers import Offerer, Receiver
from wakumail.mail.sync.outcome import Outcome
from wakumail.mail.sync.packets import (
    Close,
    Ending,
    Envelopes,
    Found,
    Offer,
    Open,
    Reconcile,
    Seek,
    Status,
    Stored,
    SyncError,
    Want,
    decode,
)
from wakumail.mail.sync.respondent import Respondent
from wakumail.mail.sync.round import RoundFailed
from wakumail.mail.sync.side import Side
from wakumail.mail.sync.taker import Taker
from wakumail.mail.sync.tally import Tally
from wakumail.mail.sync.wire import Wire
from wakumail.waku.envelope import Batch

log = logging.getLogger(__name__)

WATCH_INTERVAL = 5.0
"""Seconds between two looks at what a peer owes us."""

STATUS_STEP = 600
"""Seconds by which our horizon, or our clock, has to move for the peer to be told."""


class SyncStopped(ProtocolError):
    """We cannot go on with a peer, for no fault of its own."""

    counter = "sync_stopped"
    reason = DisconnectReason.REQUESTED


class SyncUngreeted(SyncError):
    """A packet came before the status of `wakusync`."""

    counter = "sync_before_status"


class Session:
    """One connection to a peer that we sync with.

    `drives`: rounds are ours to make, since we called the peer. `on_batch` gets each batch of
    envelopes that went to the store, `on_fault` the reason for which we end the connection.
    """

    def __init__(
        self,
        name: str,
        wire: Wire,
        side: Side,
        tally: Tally,
        *,
        drives: bool,
        on_batch: Callable[[Batch], None],
        on_fault: Callable[[ProtocolError], None],
    ) -> None:
        self._name = name
        self._wire = wire
        self._side = side
        self._tally = tally
        self._drives = drives
        self._on_fault = on_fault
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False
        agreement = self._agreement = Agreement(name, side, tally)
        offerer = self._offerer = Offerer(wire, tally)
        follower = self._follower = Follower(side.desk, offerer)
        taker = self._taker = Taker(
            wire, side.store, side.rules, agreement.bounds, on_batch, follower.has_ids
        )
        self._giver = Giver(side.desk, wire, tally)
        self._receiver = Receiver(
            wire, side.desk, taker, self._start, agreement.choose, agreement.count
        )
        self._respondent = Respondent(wire, side, tally, agreement, self._start)
        self._driver = Driver(
            name, wire, side, tally, agreement, taker, offerer, first=1 if drives else 2
        )
        follower.on_behind = self._driver.due.set
        self._debts = Debts(
            lambda: True if agreement.peer is None else None,
            lambda: self._driver.owed,
            lambda: taker.owed,
            lambda: offerer.owed,
        )

    def open(self) -> None:
        """Begin; the first packet that we send is our status."""
        self._start(self._giver.run())
        self._start(self._watch())
        self._start(self._begin())

    def close(self) -> None:
        """The connection has ended."""
        self._closed = True
        for task in tuple(self._tasks):
            task.cancel()

    async def make_round(self, window: Window | None = None, *, moves: bool = True) -> Outcome:
        """Make rounds now, over all of the agreed window or the part of it in `window`.

        Without `moves` both sides are only compared. RoundFailed, ArchiveError; PeerGone if the
        connection ends before.
        """
        driver = self._driver
        work = driver.make_equal(window) if moves else driver.make(window, moves=False)
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await task
        except NegentropyError as error:
            self._fault(error)
            raise RoundFailed(Ending.UNREADABLE, str(error)) from error
        except asyncio.CancelledError:
            if not task.cancel() and self._closed:
                raise PeerGone("the connection ended during the round") from None
            raise
        except WakumailError:
            raise
        except Exception:
            self._fault(SyncStopped("an error of ours"))
            raise

    def received(self, code: int, data: bytes) -> None:
        """Take a packet. SyncError."""
        self._tally.bytes_received += len(data)
        packet = decode(code, data)
        if self._agreement.peer is None and not isinstance(packet, Status):
            raise SyncUngreeted("a packet came before the status")
        self._debts.heard = asyncio.get_running_loop().time()
        match packet:
            case Status():
                self._agreement.greet(packet)
            case Open():
                self._respondent.open(packet)
            case Reconcile():
                self._respondent.take(packet)
                self._driver.answered(packet)
            case Close():
                self._respondent.close(packet)
                self._driver.answered(packet)
            case Want() | Seek():
                self._giver.want(packet)
            case Envelopes():
                self._taker.received(packet)
            case Found():
                self._taker.found(packet)
            case Offer():
                self._follower.has(packet.items)
                self._receiver.offered(packet)
            case Stored():
                self._offerer.stored(packet)

    # -- tasks ------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        match None if task.cancelled() else task.exception():
            case None | PeerGone():
                pass
            case ProtocolError() as error:
                self._fault(error)
            case ArchiveError() as error:
                self._fault(SyncStopped(str(error)))
            case error:
                log.error("sync with %s failed", self._name, exc_info=error)
                self._fault(SyncStopped("an error of ours"))

    def _fault(self, error: ProtocolError) -> None:
        if not self._closed:
            self._on_fault(error)
            self._wire.fail(error)

    async def _begin(self) -> None:
        # Before our status, for which the peer's first round waits: nothing falls between the two.
        sequence = await self._side.desk.next_sequence()
        self._wire.send(self._side.status())
        self._agreement.tell()
        await self._agreement.reached.wait()
        if not self._side.sync_interval:
            return
        self._start(self._follower.run(sequence))
        if self._drives:
            self._start(self._driver.run())

    async def _watch(self) -> None:
        """Give the peer up if it does not answer; tell it where our horizon or clock moves."""
        loop = asyncio.get_running_loop()
        told, told_at = self._side.status(), loop.time()
        self._debts.look(told_at, excused=True)
        while True:
            await asyncio.sleep(WATCH_INTERVAL)
            now, status = loop.time(), self._side.status()
            self._debts.look(now, excused=self._side.store.full)
            jumped = status.now - told.now - (now - told_at)
            if max(abs(status.horizon - told.horizon), abs(jumped)) > STATUS_STEP:
                told, told_at = status, now
                self._wire.send(told)
