"""The side of a reconciliation that begins it, and learns how both sides differ."""

from wakumail.archive.results import Bound
from wakumail.mail.sync.items import (
    ALL_TIMES,
    END,
    ID_SIZE,
    ITEM_SIZE,
    START,
    TIME_SIZE,
    Items,
    Run,
    Window,
)
from wakumail.mail.sync.message_errors import IdOutside, TripsEndless
from wakumail.mail.sync.message_reader import FINGERPRINT, IDS, MAX_MESSAGE, MessageReader
from wakumail.mail.sync.reply import Reply

MAX_DIFFERENCES = 50_000
"""Items of one side alone that a reconciliation finds before it ends early; some 10 MB."""

MAX_TRIPS = 1000
"""Messages of one reconciliation. With the smallest frames these find 20,000 scattered items."""


FEW_TO_ASK = 8
"""Items from which an initiator splits a range that differs. Ids that it tells are answered with
ids, parts that differ alone: so the last trip has a quarter of the bytes that FEW would make."""


class Initiator:
    """One reconciliation from its first message on.

    full: True if the end came early, for one side has enough alone: transfer what was found, then
    reconcile again. frame_limit: bytes of a message that we send, at least 4096; 0 = no limit.
    few: items from which a range that differs is split, at least 8; with FEW and an ItemSet, the
    messages equal those of the reference implementation.
    """

    def __init__(
        self,
        window: Window = ALL_TIMES,
        *,
        frame_limit: int = MAX_MESSAGE,
        max_differences: int = MAX_DIFFERENCES,
        few: int = FEW_TO_ASK,
    ) -> None:
        self.full = False
        self.trips = 0
        self._window = window
        self._frame_limit = frame_limit
        self._max_differences = max_differences
        self._few = few
        # A message that is cut has ranges told again: no difference shall count twice.
        self._have: dict[bytes, None] = {}
        self._need: dict[bytes, tuple[int, int]] = {}

    @property
    def have(self) -> bytes:
        """Items that the other side lacks, packed, in order."""
        return b"".join(sorted(self._have))

    @property
    def need(self) -> list[Run]:
        """Items that we lack, those of the same span of times together."""
        spans: dict[tuple[int, int], list[bytes]] = {}
        for id_, span in self._need.items():
            spans.setdefault(span, []).append(id_)
        return [Run(first, last, b"".join(ids)) for (first, last), ids in spans.items()]

    def begin(self, items: Items) -> bytes:
        """The first message."""
        reply = self._reply(items)
        reply.detail(START, END)
        self.trips = 1
        return reply.message

    def take(self, message: bytes, items: Items) -> bytes | None:
        """Read an answer; the next message, or None at the end.

        NegentropyError for an answer that breaks a rule, and for the 1,000th that is not the last.
        """
        reply = self._reply(items)
        lower = START
        for upper, mode, payload in MessageReader(message):
            if reply.end_early(lower):
                break
            if mode == FINGERPRINT:
                reply.compare(lower, upper, payload)
                if reply.is_cut:
                    break
            else:
                if mode == IDS:
                    self._note(reply, lower, upper, payload)
                    if self.full:
                        return None
                reply.skip(upper)
            lower = upper
        if len(reply.message) == 1:
            return None
        if self.trips == MAX_TRIPS:
            raise TripsEndless(f"not at the end after {MAX_TRIPS:,} messages")
        self.trips += 1
        return reply.message

    def _reply(self, items: Items) -> Reply:
        return Reply(items, self._window, self._frame_limit, few=self._few)

    def _note(self, reply: Reply, lower: Bound, upper: Bound, ids: bytes) -> None:
        """Hold the ids of a range on the other side against our own."""
        lower, upper = self._window.clip(lower, upper)
        if lower >= upper:
            if ids:
                raise IdOutside("an id outside the window")
            return
        theirs = dict.fromkeys(ids[at : at + ID_SIZE] for at in range(0, len(ids), ID_SIZE))
        for piece, _ in reply.pieces(lower, upper):
            for at in range(0, len(piece), ITEM_SIZE):
                item = piece[at : at + ITEM_SIZE]
                if item[TIME_SIZE:] in theirs:
                    del theirs[item[TIME_SIZE:]]
                else:
                    self._have[item] = None
            if len(self._have) >= self._max_differences:
                self.full = True
                return
        last = upper.time if upper.prefix else upper.time - 1
        self._need |= dict.fromkeys(theirs, (lower.time, last))
        self.full = len(self._need) >= self._max_differences
