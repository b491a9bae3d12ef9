"""Tasks for later, of a machine without a clock."""

import heapq
from collections.abc import Callable
from itertools import count


class Timers:
    """Calls to make at a time, and the time as it was last told.

    `now` is seconds of a clock that only goes forward.
    """

    def __init__(self, now: float) -> None:
        self.now = now
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    @property
    def due(self) -> float | None:
        """The time of the next call; None if there is none."""
        return self._calls[0][0] if self._calls else None

    def later(self, delay: float, call: Callable[[], None]) -> None:
        """Make a call `delay` seconds from now."""
        heapq.heappush(self._calls, (self.now + delay, next(self._order), call))

    def run(self, now: float) -> None:
        """Make the calls that are due; those that they add for now wait for the next run."""
        self.now = max(self.now, now)
        due = []
        while self._calls and self._calls[0][0] <= self.now:
            due.append(heapq.heappop(self._calls)[2])
        for call in due:
            call()
