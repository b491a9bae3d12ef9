"""Tasks that have to end."""

import asyncio
from collections.abc import Iterable
from typing import Any

CANCEL_AGAIN = 1.0
"""Seconds after which a task that goes on is cancelled again."""


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> list[Any]:
    """Cancel tasks, again and again until all have ended; returns their results or errors.

    One cancellation may be lost: `asyncio.wait_for` of Python 3.11 drops it if what it waits for
    is done at that moment, and libraries wait with it.
    """
    ending = tuple(tasks)
    left = {task for task in ending if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN)
    return await asyncio.gather(*ending, return_exceptions=True)
