"""The agreement of two sides: what they sync, and when they last had the same."""

import asyncio
import logging
import time

from wakumail.base.text import counted
from wakumail.mail.sync.items import Run, Window
from wakumail.mail.sync.packed import in_window
from wakumail.mail.sync.packets import Status, lasting
from wakumail.mail.sync.side import Side
from wakumail.mail.sync.taker import Taken
from wakumail.mail.sync.tally import Tally
from wakumail.mail.sync.window import MAX_DRIFT, agree
from wakumail.waku.envelope import FUTURE_TOLERANCE

log = logging.getLogger(__name__)

TOPICS_DIFFER = "the two archive different topics (--topics)"


class Agreement:
    """The rules that we and one peer agree on, from its first status on."""

    def __init__(self, name: str, side: Side, tally: Tally) -> None:
        self.peer: Status | None = None
        """The last status of the peer."""
        self.greeted = asyncio.Event()
        """Set once both sides have sent a status."""
        self.reached = asyncio.Event()
        """Set while both archive the same topics."""
        self.differed = False
        """True if something was moved since both had the same."""
        self._name = name
        self._side = side
        self._tally = tally
        self._told = False
        self._heard = 0.0
        """The time of that status (time.monotonic), from which on the clock of the peer goes on:
        ours may jump."""

    def tell(self) -> None:
        """Our status is on its way to the peer."""
        self._told = True
        if self.peer is not None:
            self.greeted.set()

    def greet(self, status: Status) -> None:
        """Take a status of the peer."""
        own = self._side.status()
        first, self.peer, self._heard = self.peer is None, status, time.monotonic()
        ahead = status.now - own.now
        if self._told:
            self.greeted.set()
        if status.topics != own.topics:
            self.reached.clear()
            if self._tally.problem != TOPICS_DIFFER:
                self._tally.problem = TOPICS_DIFFER
                log.warning("no sync with %s: %s", self._name, TOPICS_DIFFER)
            return
        if first and abs(ahead) > MAX_DRIFT:
            way = "ahead of" if ahead > 0 else "behind"
            text = "the clock of %s is %d s %s ours: rounds end at the earlier time"
            log.warning(text, self._name, abs(ahead), way)
        self.reached.set()

    def window(self) -> Window | None:
        """The window of a round that begins now; None if no time is kept by both."""
        assert self.peer is not None
        now = self.peer.now + int(time.monotonic() - self._heard)
        return agree(self._side.status(), self.peer._replace(now=now), self._side.sync_window)

    def bounds(self) -> tuple[int, int]:
        """The first and the last creation time that we take, in Unix seconds."""
        own = self._side.status()
        return own.horizon, own.now + FUTURE_TOLERANCE

    def choose(self, items: bytes) -> bytes:
        """The items that we would take, as far as their times and ids tell."""
        return self._side.refused.out_of_items(in_window(items, *self.bounds()))

    def choose_of_run(self, run: Run) -> Run:
        """The run with the ids that we would take."""
        return run._replace(ids=self._side.refused.out_of_ids(run.ids))

    def count(self, taken: Taken) -> None:
        """Count what the peer has sent."""
        self._side.refused.add(lasting(taken.refused.items()))
        self._tally.stored += taken.stored
        self._tally.refused.update(taken.refused.values())

    def moved(self, taken: int, given: int, refused: int) -> None:
        """A round has moved these numbers of envelopes."""
        if taken or given or refused:
            text = "sync with %s: %s taken, %d given, %d refused here"
            log.info(text, self._name, counted(taken, "envelope"), given, refused)

    def equal(self, window: Window, left: int = 0) -> None:
        """Both have the same in this window, but for `left` envelopes that one of them refuses."""
        tally = self._tally
        if tally.agreed is None or self.differed or tally.problem:
            but = f", but for {left} that one of them refuses" if left else ""
            log.info("sync with %s: both archives have the same now%s", self._name, but)
        self.differed = False
        tally.agreed = time.monotonic()
        tally.problem = ""
        self._side.on_equal(window)
