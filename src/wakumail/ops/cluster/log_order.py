"""The messages of the log by their sequences, wherever they come from.

Those of our own come with their acknowledgements, all others are read. Sequences are dense: one
that is left out is a hole, whatever the log says.
"""

from typing import NamedTuple

MAX_AHEAD = 100_000
"""Messages of our own behind what was read that are remembered. The others are read again, and
stored once all the same."""


class Hole(NamedTuple):
    """Sequences, both inclusive, whose messages nobody could give us."""

    first: int
    last: int


class LogOrder:
    """The sequences up to `head`, of which we have all but those in holes, and ours behind it."""

    def __init__(self, place: int) -> None:
        self.head = place
        self.holes: list[Hole] = []
        """In ascending order."""
        self._ahead: set[int] = set()
        """Sequences of our own messages behind `head`: others before them have not been read."""

    @property
    def place(self) -> int:
        """The sequence up to which nothing is missing."""
        return self.holes[0].first - 1 if self.holes else self.head

    @property
    def missing(self) -> int:
        """The number of messages in all holes."""
        return sum(hole.last + 1 - hole.first for hole in self.holes)

    def has(self, sequence: int) -> bool:
        """True if we have this message."""
        if sequence > self.head:
            return sequence in self._ahead
        return not any(hole.first <= sequence <= hole.last for hole in self.holes)

    def acknowledge(self, sequence: int) -> None:
        """Take note of a message of our own."""
        if sequence <= self.head:
            self.fill(sequence, sequence)
        elif len(self._ahead) < MAX_AHEAD:
            self._ahead.add(sequence)
            self._pass_own()

    def read(self, sequence: int) -> bool:
        """Take note of a message that was read; False if it is known already.

        ValueError for one that leaves sequences out: see `leave_out`.
        """
        if sequence <= self.head:
            return self.fill(sequence, sequence)
        if sequence > self.head + 1:
            raise ValueError(f"{sequence} does not follow {self.head}")
        self.head += 1
        self._pass_own()
        return True

    def leave_out(self, last: int) -> None:
        """Make holes of all that is wanted up to `last`."""
        while self.head < last:
            first = self.head + 1
            self.head = min([last, *(own - 1 for own in self._ahead)])
            if self.holes and self.holes[-1].last == first - 1:
                first = self.holes.pop().first
            self.holes.append(Hole(first, self.head))
            self._pass_own()

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

    def _pass_own(self) -> None:
        while self.head + 1 in self._ahead:
            self.head += 1
            self._ahead.remove(self.head)
