"""The side of a reconciliation that begins it, and learns how both sides differ."""

from wakumail.archive.results import Bound
from wakumail.mail.sync.id_set import IdSet, ids_of
from wakumail.mail.sync.item_set import ItemSet
from wakumail.mail.sync.items import (
    ALL_TIMES,
    END,
    ID_SIZE,
    ITEM_SIZE,
    START,
    Items,
    Run,
    Window,
)
from wakumail.mail.sync.message_errors import IdOutside, TripsEndless
from wakumail.mail.sync.message_reader import FINGERPRINT, IDS, MAX_MESSAGE, MessageReader
from wakumail.mail.sync.reply import Reply

MAX_DIFFERENCES = 250_000
"""Items of one side alone that a reconciliation finds before it ends early."""

MAX_TRIPS = 1000
"""Messages of one reconciliation. With the smallest frames these find 20,000 scattered items."""

ENOUGH_TRIPS = MAX_TRIPS // 2
"""Messages after which a reconciliation that has found something ends early."""

FEW_TO_ASK = 8
"""Items from which an initiator splits a range that differs. Ids that it tells are answered with
ids, parts that differ alone: so the last trip has a quarter of the bytes that FEW would make."""


class Initiator:
    """One reconciliation from its first message on.

    full: True if the end came early, for enough was found or told: transfer what was found, then
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
        self._have: list[bytes] = []
        self._need: dict[tuple[int, int], list[bytes]] = {}
        self._had = self._needed = 0
        # A message that is cut has ranges told again: no difference shall count twice.
        self._told = IdSet()

    @property
    def have(self) -> bytes:
        """Items that the other side lacks, packed, in order."""
        items = ItemSet(b"".join(self._have))
        return items.ids(START, END, len(items))

    @property
    def need(self) -> list[Run]:
        """Items that we lack, those of the same span of times together."""
        return [Run(first, last, b"".join(ids)) for (first, last), ids in self._need.items()]

    def hand_over(self) -> tuple[bytes, list[Run]]:
        """`have` and `need`, which are empty then. They are not found again until `forget`."""
        found = self.have, self.need
        self._have, self._need = [], {}
        return found

    def forget(self, ids: bytes) -> None:
        """These (joined) were moved; if they are found again, they count again."""
        self._told.discard(ids)

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
        if self.trips == ENOUGH_TRIPS and (self._had or self._needed):
            self.full = True
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
        ours, theirs = IdSet(), IdSet()
        for piece, _ in reply.pieces(lower, upper):
            if not len(theirs):
                theirs.add(ids)
            ours.add(ids_of(piece))
            have = self._told.without_items(theirs.without_items(piece))
            if have:
                self._told.add(ids_of(have))
                self._have.append(have)
                self._had += len(have) // ITEM_SIZE
            if self._had >= self._max_differences:
                self.full = True
                return
        need = self._told.add(ours.without(ids))
        if need:
            last = upper.time if upper.prefix else upper.time - 1
            self._need.setdefault((lower.time, last), []).append(need)
            self._needed += len(need) // ID_SIZE
            self.full = self._needed >= self._max_differences
