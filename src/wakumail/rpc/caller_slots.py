"""The connections of one listener: if all slots are taken, the longest idle one makes room."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wakumail.counters import Counters


class Caller:
    """One connection; `close` closes it at once."""

    def __init__(self, close: Callable[[], object]) -> None:
        self.close = close
        self.subscribed = False
        """True if it waits for notifications, so that silence is no sign of disuse."""
        self.used_at = time.monotonic()
        """Time of its beginning, later of the end of its last call (time.monotonic)."""
        self._calls = 0

    @property
    def idle(self) -> bool:
        """True if no call of it is in progress."""
        return not self._calls

    @contextmanager
    def calling(self) -> Iterator[None]:
        """A call is in progress."""
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1
            self.used_at = time.monotonic()


class CallerSlots:
    """The callers of one listener, at most a number of them.

    A caller beyond it takes the slot of the one that has been idle for the longest, those without
    subscriptions first. A caller that is slow to send a request or to read its answer is idle too.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._callers: set[Caller] = set()

    def enter(self, caller: Caller, most: int) -> bool:
        """Take a slot; False if there are `most` callers and all have calls in progress."""
        while len(self._callers) >= most:
            idle = [each for each in self._callers if each.idle]
            if not idle:
                self._counters.add("rpc_sessions_refused")
                return False
            longest = min(idle, key=lambda each: (each.subscribed, each.used_at))
            self.leave(longest)
            self._counters.add("rpc_sessions_evicted")
            longest.close()
        self._callers.add(caller)
        return True

    def leave(self, caller: Caller) -> None:
        """Free the slot of a caller, if it still has one."""
        self._callers.discard(caller)
