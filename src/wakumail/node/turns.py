"""Turns: how long busy links have the loop, all of them together, before it goes round.

Whoever has sent little is served as soon as the loop comes to it, however many others have sent
much: what these have sent waits in their buffers, and they go on one after the other.
"""

import asyncio
import time
from collections import deque

from wakumail.node.link import Link, Wait

TURN_TIME = 0.001
"""Seconds that busy links together take of one round of the loop, and that a round of the relay
takes before it lets others on. A request needs some four rounds of the loop to be answered."""


class Turns:
    """Whose turn it is."""

    def __init__(self) -> None:
        self._waiting: deque[Link] = deque()
        self._begun = False
        self._ends = 0.0

    def is_over(self) -> bool:
        """Whether the busy ones have had what is theirs of this round, which begins when it is
        first asked.
        """
        now = time.monotonic()
        if not self._begun:
            self._begun = True
            self._ends = now + TURN_TIME
            asyncio.get_running_loop().call_soon(self._go_round)
        return now >= self._ends

    def wait(self, link: Link) -> None:
        """Let a link go on when it is its turn."""
        self._waiting.append(link)

    def _go_round(self) -> None:
        self._begun = False
        while self._waiting:
            link = self._waiting.popleft()
            over = self.is_over()  # asked before, so that a link that fails holds up nobody
            link.resume(Wait.TURN)
            if over:
                break
