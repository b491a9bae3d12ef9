"""Turns: the time that all who are busy together have in one round of the event loop.

The links of peers share one, the callers of an address another. A peer that has sent little is
served as soon as the loop comes to it, however many others have sent much. The packets of those
wait in their buffers, and their links go on one after the other.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

TURN_TIME = 0.001
"""Seconds of one round of the loop for all who share them, and seconds after which a round of
the relay lets others on. A request needs some four rounds of the loop to be answered."""


class Turns:
    """Shares the time of each round of the loop among those who are busy."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._begun = False
        self._ends = 0.0

    def is_over(self) -> bool:
        """True if the busy ones have had their time of this round.

        The first call in a round begins that time.
        """
        now = time.monotonic()
        if not self._begun:
            self._begun = True
            self._ends = now + TURN_TIME
            asyncio.get_running_loop().call_soon(self._go_round)
        return now >= self._ends

    def wait(self, resume: Callable[[], None]) -> None:
        """Call `resume` when its turn comes."""
        self._waiting.append(resume)
        self.is_over()  # so that a round follows

    async def turn(self) -> None:
        """Return at once if there is time in this round, else when the turn comes.

        The caller then does a small piece of work, however many others do so too.
        """
        if self.is_over():
            came = asyncio.Event()
            self.wait(came.set)
            await came.wait()

    def _go_round(self) -> None:
        self._begun = False
        while self._waiting:
            resume = self._waiting.popleft()
            over = self.is_over()  # asked first, so that an error holds up nobody else
            resume()
            if over:
                break
