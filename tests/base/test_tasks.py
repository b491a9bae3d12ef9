"""Tasks that have to end."""

import asyncio

from tests.support.patience import asynchronous
from wakumail.base.tasks import end_tasks


@asynchronous
async def test_a_task_that_loses_a_cancellation_is_ended() -> None:
    async def worker() -> None:
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await done  # as wait_for of Python 3.11: what it waited for was done as well
        await asyncio.Event().wait()

    async def failing() -> None:
        raise ValueError("an error of its own")

    async def finished() -> int:
        return 3

    tasks = [asyncio.create_task(each()) for each in (worker, failing, finished)]
    await asyncio.sleep(0)
    ends = await end_tasks(tasks)
    assert isinstance(ends[0], asyncio.CancelledError)
    assert isinstance(ends[1], ValueError)
    assert ends[2] == 3
    assert await end_tasks([]) == []
