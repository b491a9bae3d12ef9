"""The turn of a task with much to do: its time in one round of the event loop."""

import asyncio
import time

from wakumail.base.turns import TURN_TIME


class TaskTurn:
    """Begins when it is made, and again after each pause."""

    def __init__(self) -> None:
        self._ends = time.monotonic() + TURN_TIME

    async def pause_if_over(self) -> None:
        """Let peers and callers have their turn if this one has lasted TURN_TIME."""
        if time.monotonic() >= self._ends:
            await asyncio.sleep(0)
            self._ends = time.monotonic() + TURN_TIME
