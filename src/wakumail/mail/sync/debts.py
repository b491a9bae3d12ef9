"""The debts of a peer: what it owes us, and for how long."""

from collections.abc import Callable

from wakumail.mail.sync.packets import SyncError

ANSWER_TIMEOUT = 60.0
"""Seconds of silence after which a peer that owes us an answer is given up."""

STEP_TIMEOUT = 600.0
"""Seconds for one step of what a peer owes us, whatever else it says meanwhile."""


class SyncTimeout(SyncError):
    """The peer owes us an answer, and says nothing, or nothing of that."""

    counter = "sync_unanswered"


class Debts:
    """The debts of one peer. Times are those of the loop, in seconds.

    Each of `owed` tells one: a value that changes with each step of it, or None if nothing is owed.
    """

    def __init__(self, *owed: Callable[[], object]) -> None:
        self.heard = 0.0
        """The time of the last packet."""
        self._owed = owed
        self._values: list[object] = [None] * len(owed)
        self._stepped = [0.0] * len(owed)
        """The time since which each value is the same."""
        self._quiet = 0.0
        """The time at which nothing was owed."""

    def look(self, now: float, *, excused: bool) -> None:
        """SyncTimeout if the peer is to be given up; `excused`: not for what was until now."""
        values = [owed() for owed in self._owed]
        for place, (value, before) in enumerate(zip(values, self._values, strict=True)):
            if excused or value is None or value != before:
                self._stepped[place] = now
        self._values = values
        if excused or not any(value is not None for value in values):
            self._quiet = now
        if now - max(self.heard, self._quiet) > ANSWER_TIMEOUT:
            raise SyncTimeout(f"no answer for {ANSWER_TIMEOUT:.0f} s")
        if now - min(self._stepped) > STEP_TIMEOUT:
            raise SyncTimeout(f"no step of an answer for {STEP_TIMEOUT:.0f} s")
