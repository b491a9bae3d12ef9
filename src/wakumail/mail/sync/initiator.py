"""The side of a reconciliation that begins it, and learns how both sides differ."""

from typing import NamedTuple

from wakumail.archive.results import Bound
from wakumail.mail.sync.items import (
    ALL_TIMES,
    END,
    ID_SIZE,
    ITEM_SIZE,
    START,
    TIME_SIZE,
    Items,
    Window,
)
from wakumail.mail.sync.message_errors import IdOutside, TripsEndless
from wakumail.mail.sync.message_reader import FINGERPRINT, IDS, MAX_MESSAGE, MessageReader
from wakumail.mail.sync.reply import PIECE, Reply, bound_of

MAX_DIFFERENCES = 100_000
"""Items that a reconciliation finds on one side alone before it ends early."""

MAX_TRIPS = 1000
"""Messages of one reconciliation. With the smallest frames these find 30,000 scattered items."""


class Wanted(NamedTuple):
    """Items that the other side has and we lack, as one list of ids told them.

    first, last: the earliest and the latest Unix second at which they can have been created, since
    lists of ids have no times; ids: 32 bytes each, joined.
    """

    first: int
    last: int
    ids: bytes


class Initiator:
    """One reconciliation from its first message on.

    have: packed items that the other side lacks; need: those that we lack; full: True if the end
    came early, for one of both was long enough: transfer those, then reconcile again.
    frame_limit: bytes of a message that we send, at least 4096; 0 = no limit.
    """

    def __init__(
        self,
        window: Window = ALL_TIMES,
        *,
        frame_limit: int = MAX_MESSAGE,
        max_differences: int = MAX_DIFFERENCES,
    ) -> None:
        self.have = bytearray()
        self.need: list[Wanted] = []
        self.full = False
        self.trips = 0
        self._window = window
        self._frame_limit = frame_limit
        self._max_differences = max_differences
        self._needed = 0

    def begin(self, items: Items) -> bytes:
        """The first message."""
        reply = Reply(items, self._window, self._frame_limit)
        reply.detail(START, END)
        self.trips = 1
        return reply.message

    def take(self, message: bytes, items: Items) -> bytes | None:
        """Read an answer; the next message, or None at the end.

        NegentropyError for an answer that breaks a rule, and for the 1,000th that is not the last.
        """
        reply = Reply(items, self._window, self._frame_limit)
        lower = START
        told = len(self.have), len(self.need)
        for upper, mode, payload in MessageReader(message):
            if reply.end_early(lower):
                break
            if mode == FINGERPRINT:
                reply.compare(lower, upper, payload)
            else:
                if mode == IDS:
                    self._note(reply, lower, upper, payload)
                    if self.full:
                        return None
                reply.skip(upper)
            if reply.is_cut:
                # The rest begins behind the last range that was told: its ids will come again.
                self._forget(*told)
                break
            if reply.is_told:
                told = len(self.have), len(self.need)
            lower = upper
        if len(reply.message) == 1:
            return None
        if self.trips == MAX_TRIPS:
            raise TripsEndless(f"not at the end after {MAX_TRIPS:,} messages")
        self.trips += 1
        return reply.message

    def _note(self, reply: Reply, lower: Bound, upper: Bound, ids: bytes) -> None:
        """Hold the ids of a range on the other side against our own."""
        first, end = self._window.clip(lower, upper)
        if first >= end:
            if ids:
                raise IdOutside("an id outside the window")
            return
        theirs = dict.fromkeys(ids[at : at + ID_SIZE] for at in range(0, len(ids), ID_SIZE))
        at = first
        while piece := reply.ids(at, end, PIECE + 1):
            for start in range(0, min(len(piece), PIECE * ITEM_SIZE), ITEM_SIZE):
                item = piece[start : start + ITEM_SIZE]
                if item[TIME_SIZE:] in theirs:
                    del theirs[item[TIME_SIZE:]]
                else:
                    self.have += item
            if len(self.have) >= self._max_differences * ITEM_SIZE:
                self.full = True
                return
            if len(piece) <= PIECE * ITEM_SIZE:
                break
            at = bound_of(piece[PIECE * ITEM_SIZE :])
        if theirs:
            last = end.time if end.prefix else end.time - 1
            self.need.append(Wanted(first.time, last, b"".join(theirs)))
            self._needed += len(theirs)
            self.full = self._needed >= self._max_differences

    def _forget(self, have: int, need: int) -> None:
        """Take back differences, down to these lengths of both lists."""
        del self.have[have:]
        self._needed -= sum(len(wanted.ids) // ID_SIZE for wanted in self.need[need:])
        del self.need[need:]
