"""The sorted items of one side, as reconciliation asks for them.

An item is (created, id): Unix seconds below 2^32, and the 32 bytes of a hash. Items are packed into
36 bytes each, created in big-endian order before the id, so that the order of bytes is their order.
"""

from typing import NamedTuple, Protocol

from wakumail.archive.results import Bound, Fold

ID_SIZE = 32
TIME_SIZE = 4
ITEM_SIZE = TIME_SIZE + ID_SIZE

INFINITY = 2**64 - 1
"""The time of the bound behind all items (negentropy v1, "Preparation")."""

START = Bound(0, b"")
END = Bound(INFINITY, b"")


class Window(NamedTuple):
    """The creation times that both sides agreed to look at, in Unix seconds: first to end - 1."""

    first: int
    end: int

    def clip(self, lower: Bound, upper: Bound) -> tuple[Bound, Bound]:
        """The part of a range that lies inside; without items if nothing does."""
        return max(lower, Bound(self.first, b"")), min(upper, Bound(self.end, b""))


ALL_TIMES = Window(0, 2**32)


class Run(NamedTuple):
    """Items without their times, which lists of ids do not have.

    first, last: the earliest and the latest Unix second at which they can have been created; ids:
    32 bytes each, joined in the order of the items.
    """

    first: int
    last: int
    ids: bytes


class Items(Protocol):
    """The items of one moment; they do not change while a message is read and answered.

    Bounds may have any time up to INFINITY. A range has its lower bound, and not its upper one.
    """

    @property
    def hashed(self) -> int:
        """Bytes of envelopes that were hashed for the answers so far."""

    def fold(self, lower: Bound, upper: Bound) -> Fold:
        """The number of items in a range, and the sum of their ids."""

    def split(self, lower: Bound, upper: Bound, parts: int) -> list[tuple[Bound, Fold]]:
        """A range that has items, in up to `parts` parts: the upper bound of each, and its fold.

        The last bound is `upper`. No part is empty. A range with at least twice `parts` items has
        at least two parts.
        """

    def ids(self, lower: Bound, upper: Bound, limit: int) -> bytes:
        """The first `limit` items of a range, in order, packed."""
