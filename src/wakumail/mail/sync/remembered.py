"""Ids that are remembered: of refused envelopes, and of those that a peer is known to have."""

from wakumail.mail.sync.id_set import IdSet

MAX_REMEMBERED = 100_000
"""Ids that are remembered at least, in up to 9 MB; at most twice as many."""


class Remembered:
    """A bounded set of ids: the older half of it is forgotten at once."""

    def __init__(self) -> None:
        self._newer = IdSet()
        self._older = IdSet()

    def add(self, ids: bytes) -> None:
        """Remember these (joined)."""
        self._newer.add(ids)
        if len(self._newer) > MAX_REMEMBERED:
            self._newer, self._older = IdSet(), self._newer

    def out_of_items(self, items: bytes) -> bytes:
        """The packed items without those that are remembered."""
        return self._older.without_items(self._newer.without_items(items))

    def out_of_ids(self, ids: bytes) -> bytes:
        """The ids (joined) without those that are remembered."""
        return self._older.without(self._newer.without(ids))
