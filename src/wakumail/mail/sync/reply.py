"""One message of a reconciliation in the making, whichever side sends it."""

from collections.abc import Iterator

from wakumail.archive.results import Bound, Fold
from wakumail.mail.sync.items import END, ID_SIZE, ITEM_SIZE, TIME_SIZE, Items, Window
from wakumail.mail.sync.message_reader import MAX_MESSAGE
from wakumail.mail.sync.message_writer import MessageWriter, fingerprint

PARTS = 16
"""Ranges that one is split into where both sides differ."""

FEW = 2 * PARTS
"""Items from which the reference splits a range; the ids of fewer are told."""

SHARE = 4
"""Items of a part where a range of less than FEW is split."""

MIN_FRAME_LIMIT = 4096
SLACK = 200
"""Bytes that are kept free of the frame limit, for what ends a message that is cut."""

MAX_HASHED = 32 << 20
"""Bytes of envelopes hashed for one message, some 70 ms. The message is cut where they are over."""

PIECE = 128
"""Items read at once, so that the bytes hashed are looked at in between."""

EMPTY = Fold(0, bytes(ID_SIZE))


class Reply:
    """A message that grows range by range, until it `is_cut` for having reached a limit.

    A message that is cut ends in the fingerprint of the rest, so that the rest is asked for again.
    Messages equal those of the reference implementation byte for byte, if the items are split as an
    ItemSet is.

    frame_limit: bytes of a message, at least 4096; 0 = no limit; else ValueError.
    few: items from which a range is split.
    """

    def __init__(self, items: Items, window: Window, frame_limit: int, *, few: int = FEW) -> None:
        if frame_limit and not MIN_FRAME_LIMIT <= frame_limit <= MAX_MESSAGE:
            raise ValueError(f"a frame limit is 0, or {MIN_FRAME_LIMIT} to {MAX_MESSAGE} bytes")
        self._items = items
        self._window = window
        self._few = few
        self._max_size = frame_limit - SLACK if frame_limit else None
        self._max_hashed = items.hashed + MAX_HASHED
        self._writer = MessageWriter()
        self._skipped: Bound | None = None  # up to here, and not told so far
        self.is_cut = False

    @property
    def message(self) -> bytes:
        """The message; the version alone if nothing is left to talk about."""
        return bytes(self._writer)

    @property
    def _is_full(self) -> bool:
        return self._max_size is not None and len(self._writer) > self._max_size

    @property
    def _is_worn(self) -> bool:
        return self._items.hashed > self._max_hashed

    def end_early(self, lower: Bound) -> bool:
        """Cut the message at `lower` if its ranges cost enough so far."""
        if self._is_worn:
            self._tell_skipped()
            self._cut(lower)
        return self.is_cut

    def skip(self, upper: Bound) -> None:
        """Say nothing of the range up to `upper`."""
        self._skipped = upper

    def compare(self, lower: Bound, upper: Bound, theirs: bytes) -> None:
        """Skip a range if both sides have the same fingerprint, else tell more of it."""
        fold = self._fold(lower, upper)
        if fingerprint(fold) == theirs:
            self.skip(upper)
        else:
            self.detail(lower, upper, fold)

    def detail(self, lower: Bound, upper: Bound, fold: Fold | None = None) -> None:
        """Tell the ids of a range if they are few, else the fingerprints of its parts."""
        count = (fold or self._fold(lower, upper)).count
        self._writer.keep()
        self._tell_skipped()
        if count < self._few:
            self._writer.add_ids(upper, self._ids(lower, upper, self._few))
        else:
            most = PARTS if count >= FEW else count // SHARE
            parts = self._items.split(*self._window.clip(lower, upper), most)
            for bound, part in parts[:-1]:
                self._writer.add_fingerprint(bound, part)
            self._writer.add_fingerprint(upper, parts[-1][1])
        if self._is_full:
            # The reference does so too: the rest begins before what is taken back, and its
            # fingerprint behind it. So it never matches, and nothing is lost.
            self._writer.undo()
            self._cut(upper)

    def tell_ids(self, lower: Bound, upper: Bound) -> None:
        """Tell the ids of a range, as many as there is room for."""
        room = None
        if self._max_size is not None:
            room = ITEM_SIZE * ((self._max_size - len(self._writer)) // ID_SIZE + 1)
        self._tell_skipped()
        told = bytearray()
        end = upper
        for piece, end in self.pieces(lower, upper):
            told += piece
            if room is not None and len(told) > room:
                end = bound_of(told[room:])
                del told[room:]
            if self._is_worn or len(told) == room:
                break
        self._writer.add_ids(end, bytes(told))
        if self._is_full or end != upper:
            self._cut(end)

    def pieces(self, lower: Bound, upper: Bound) -> Iterator[tuple[bytes, Bound]]:
        """The items of a range, packed, read PIECE at a time; with each the bound behind it."""
        while lower < upper and (items := self._ids(lower, upper, PIECE + 1)):
            piece, after = items[: PIECE * ITEM_SIZE], items[PIECE * ITEM_SIZE :]
            lower = bound_of(after) if after else upper
            yield piece, lower

    def _ids(self, lower: Bound, upper: Bound, limit: int) -> bytes:
        """The first items of a range, packed."""
        lower, upper = self._window.clip(lower, upper)
        return self._items.ids(lower, upper, limit) if lower < upper else b""

    def _fold(self, lower: Bound, upper: Bound) -> Fold:
        lower, upper = self._window.clip(lower, upper)
        return self._items.fold(lower, upper) if lower < upper else EMPTY

    def _tell_skipped(self) -> None:
        if self._skipped is not None:
            self._writer.add_skip(self._skipped)
            self._skipped = None

    def _cut(self, lower: Bound) -> None:
        """End the message in the fingerprint of what lies behind `lower`."""
        self._writer.add_fingerprint(END, self._fold(lower, END))
        self.is_cut = True


def bound_of(items: bytes | bytearray) -> Bound:
    """The bound before the first of some packed items."""
    return Bound(int.from_bytes(items[:TIME_SIZE], "big"), bytes(items[TIME_SIZE:ITEM_SIZE]))
