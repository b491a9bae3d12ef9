"""The sorted items of one side, as reconciliation asks for them.

An item is (created, id): Unix seconds below 2^32, and the 32 bytes of a hash. Items are packed into
36 bytes each, created in big-endian order before the id, so that the order of bytes is their order.
"""

from typing import Protocol

from wakumail.archive.results import Bound, Fold

ID_SIZE = 32
TIME_SIZE = 4
ITEM_SIZE = TIME_SIZE + ID_SIZE

INFINITY = 2**64 - 1
"""The time of the bound behind all items (negentropy v1, "Preparation")."""


class Items(Protocol):
    """The items of one moment; they do not change while a message is read and answered.

    Bounds may have any time up to INFINITY. A range has its lower bound, and not its upper one.
    """

    @property
    def hashed(self) -> int:
        """The number of envelopes that were hashed for the answers so far."""

    def fold(self, lower: Bound, upper: Bound) -> Fold:
        """The number of items in a range, and the sum of their ids."""

    def split(self, lower: Bound, upper: Bound, parts: int) -> list[tuple[Bound, Fold]]:
        """A range that has items, in up to `parts` parts: the upper bound of each, and its fold.

        The last bound is `upper`. No part is empty. A range with at least twice `parts` items has
        at least two parts.
        """

    def ids(self, lower: Bound, upper: Bound, limit: int) -> bytes:
        """The first `limit` items of a range, in order, packed."""
