"""Turns: the time of a round of the loop, shared."""

import asyncio

import pytest

from tests.support.patience import PATIENCE, asynchronous
from wakumail.base.turns import Turns


@asynchronous
async def test_who_waits_between_two_rounds_has_a_turn() -> None:
    """One that was held up by something else, and asks for no time before it waits."""
    turns, came = Turns(), asyncio.Event()
    turns.wait(came.set)
    await asyncio.wait_for(came.wait(), PATIENCE)


@asynchronous
async def test_a_turn_comes_however_short_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wakumail.base.turns.TURN_TIME", 0.0)
    turns = Turns()
    done: list[int] = []

    async def work(worker: int) -> None:
        for _ in range(3):
            await turns.turn()
            done.append(worker)

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as workers:
        for worker in range(2):
            workers.create_task(work(worker))
    assert done == [0, 1] * 3
