"""The messages of the log in the order of their sequences, wherever they come from.

Those of our own come with their acknowledgements, all others are read. Sequences are dense: one
that is left out is a hole, whatever the log says.
"""

from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Hole(NamedTuple):
    """Sequences, both inclusive, whose messages nobody could give us."""

    first: int
    last: int


class LogOrder(Generic[T]):
    """The sequences that had their turn, up to `head`, and the holes among them.

    `T` is a message of our own. `place` is the sequence up to which nothing is missing.
    """

    def __init__(self, place: int) -> None:
        self.head = place
        self.holes: list[Hole] = []
        """In ascending order."""
        self._acknowledged: dict[int, T] = {}

    @property
    def place(self) -> int:
        """The sequence up to which nothing is missing."""
        return self.holes[0].first - 1 if self.holes else self.head

    @property
    def missing(self) -> int:
        """The number of messages in all holes."""
        return sum(hole.last + 1 - hole.first for hole in self.holes)

    @property
    def wanted(self) -> tuple[int, int | None]:
        """The first sequence to be read, and the last before one of our own (None: any)."""
        return self.head + 1, min(self._acknowledged) - 1 if self._acknowledged else None

    def acknowledge(self, sequence: int, message: T) -> bool:
        """Keep a message of our own for its turn; False if that is over."""
        if sequence <= self.head:
            return False
        self._acknowledged[sequence] = message
        return True

    def next_own(self) -> T | None:
        """The message whose turn is next, if it is our own; its turn is over then."""
        message = self._acknowledged.pop(self.head + 1, None)
        if message is not None:
            self.head += 1
        return message

    def read(self, sequence: int) -> bool:
        """Take note of a message that was read; False if it is known already.

        ValueError for one that leaves sequences out: see `leave_out`.
        """
        if sequence > self.head + 1:
            raise ValueError(f"{sequence} does not follow {self.head}")
        if sequence <= self.head:
            return self.fill(sequence, sequence)
        self.head += 1
        return True

    def leave_out(self, last: int) -> None:
        """Make a hole of all that is wanted up to `last`."""
        if last > self.head:
            first = self.head + 1
            if self.holes and self.holes[-1].last == self.head:
                first = self.holes.pop().first
            self.holes.append(Hole(first, last))
            self.head = last

    def fill(self, first: int, last: int) -> bool:
        """Take these sequences out of the holes; False if none was in one."""
        holes: list[Hole] = []
        for hole in self.holes:
            if hole.last < first or hole.first > last:
                holes.append(hole)
                continue
            if hole.first < first:
                holes.append(Hole(hole.first, first - 1))
            if hole.last > last:
                holes.append(Hole(last + 1, hole.last))
        changed = holes != self.holes
        self.holes = holes
        return changed
