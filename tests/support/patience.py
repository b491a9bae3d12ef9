"""Waiting in tests: on the loop that the server runs on, for a condition, never for a time."""

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")

PATIENCE = 240
"""Seconds after which a wait has failed for certain, on any machine, beside any load. No test that
passes waits for as long, and none asserts that anything happens in less."""


def asynchronous(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on the event loop that the server runs on."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        uvloop.run(test(*arguments, **named))

    return run


async def eventually(condition: Callable[[], T]) -> T:
    """Let the loop run until `condition` holds; returns what it returned."""
    async with asyncio.timeout(PATIENCE):
        while not (value := condition()):  # noqa: ASYNC110 - the condition is any, not an event
            await asyncio.sleep(0.001)
        return value


def until(condition: Callable[[], T]) -> T:
    """Wait until `condition` holds; returns what it returned."""
    deadline = time.monotonic() + PATIENCE
    while True:
        asked = time.monotonic()
        if value := condition():
            return value
        answered = time.monotonic()
        if answered > deadline:
            raise TimeoutError
        time.sleep(max(0.005, answered - asked))  # half of the time is for those it waits for


async def turns(count: int = 10) -> None:
    """Let the loop go round: time for what must not happen, without a clock."""
    for _ in range(count):
        await asyncio.sleep(0)


@asynccontextmanager
async def counted_rounds() -> AsyncIterator[Callable[[], int]]:
    """A function that tells how often the loop has gone round, asked in one of its rounds."""
    count = 0

    async def go_round() -> None:
        nonlocal count
        while True:
            count += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(go_round())
    try:
        yield lambda: count
    finally:
        task.cancel()
