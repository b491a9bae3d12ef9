"""Ids that are remembered: of refused envelopes, and of those that a peer is known to have."""

from collections.abc import Iterable

from wakumail.mail.sync.items import ID_SIZE, ITEM_SIZE, TIME_SIZE

MAX_REMEMBERED = 100_000
"""Ids that are remembered at least, in some 10 MB; at most twice as many."""


class Remembered:
    """A bounded set of ids: the older half of it is forgotten at once."""

    def __init__(self) -> None:
        self._newer: set[bytes] = set()
        self._older: set[bytes] = set()

    def add(self, ids: Iterable[bytes]) -> None:
        """Remember these."""
        self._newer.update(ids)
        if len(self._newer) > MAX_REMEMBERED:
            self._newer, self._older = set(), self._newer

    def clear(self) -> None:
        """Forget all."""
        self._newer, self._older = set(), set()

    def out_of_items(self, items: bytes) -> bytes:
        """The packed items without those that are remembered."""
        return self._out_of(items, ITEM_SIZE, TIME_SIZE) if self._newer or self._older else items

    def out_of_ids(self, ids: bytes) -> bytes:
        """The ids (joined) without those that are remembered."""
        return self._out_of(ids, ID_SIZE, 0) if self._newer or self._older else ids

    def _out_of(self, packed: bytes, size: int, at: int) -> bytes:
        newer, older = self._newer, self._older
        pieces = (packed[start : start + size] for start in range(0, len(packed), size))
        return b"".join(p for p in pieces if p[at:] not in newer and p[at:] not in older)
