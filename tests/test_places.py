"""Places: whose worker dies, is renewed or does not stop."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.puppet import asynchronous, eventually
from wakumail.workers import place as place_module
from wakumail.workers.place import MAX_DEATHS, Place, Worker, WorkerFailed, describe
from wakumail.workers.supervisor import Plan, Supervisor


class Starter:
    """Starts workers that are no processes, and that end as it is told."""

    def __init__(self) -> None:
        self.workers: list[Worker] = []
        self.ready = True

    async def start(self, place: Place, part: int) -> Worker:
        process = SimpleNamespace(pid=1, returncode=None, kill=lambda: None)
        worker = Worker(cast(Any, process), cast(Any, None), part)
        process.send_signal = lambda number: self.end(worker, 0)
        self.workers.append(worker)
        if self.ready:
            worker.ready_at = asyncio.get_running_loop().time()
            worker.settled.set()
        else:
            self.end(worker, 1)
        return worker

    def end(self, worker: Worker, code: int) -> None:
        cast(Any, worker.process).returncode = code
        worker.ended.set()
        worker.settled.set()


@pytest.fixture
def starter(monkeypatch: pytest.MonkeyPatch) -> Starter:
    monkeypatch.setattr(place_module, "FIRST_DELAY", 0.0)
    monkeypatch.setattr(place_module, "STOP_TIMEOUT", 0.01)
    return Starter()


def with_a_place(test: Any) -> Any:
    async def run(starter: Starter) -> None:
        place = Place(0, cast(Any, None), starter.start)
        await place.begin()
        keeping = asyncio.create_task(place.keep())
        try:
            await test(starter, place, keeping)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    return asynchronous(run)


@with_a_place
async def test_who_dies_again_and_again_is_given_up(
    starter: Starter, place: Place, keeping: asyncio.Task[None]
) -> None:
    for number in range(MAX_DEATHS):
        await eventually(lambda: len(starter.workers) == number + 1)  # noqa: B023
        starter.end(starter.workers[-1], -9)
    with pytest.raises(WorkerFailed, match=f"worker 0 died {MAX_DEATHS} times in a row"):
        await keeping
    assert {worker.part for worker in starter.workers} == {0, 1}


@with_a_place
async def test_who_lasts_in_between_is_not(
    starter: Starter, place: Place, keeping: asyncio.Task[None]
) -> None:
    for number in range(2 * MAX_DEATHS):
        await eventually(lambda: len(starter.workers) == number + 1)  # noqa: B023
        worker = starter.workers[-1]
        if number % 2:
            assert worker.ready_at is not None
            worker.ready_at -= place_module.STABLE
        starter.end(worker, -9)
    await eventually(lambda: len(starter.workers) == 2 * MAX_DEATHS + 1)
    assert not keeping.done()


@with_a_place
async def test_a_successor_that_does_not_start_leaves_all_as_it_is(
    starter: Starter, place: Place, keeping: asyncio.Task[None]
) -> None:
    first = place.serving
    starter.ready = False
    with pytest.raises(WorkerFailed, match="worker 0 did not start: exit code 1"):
        await place.renew()
    assert place.serving is first is not None
    starter.ready = True
    await place.renew()
    assert place.serving is starter.workers[-1]
    assert first.ended.is_set()
    for _ in range(10):
        await asyncio.sleep(0)  # so that `keep` sees the end of the first
    assert len(starter.workers) == 3
    assert not keeping.done()


@with_a_place
async def test_who_does_not_stop_is_killed(
    starter: Starter, place: Place, keeping: asyncio.Task[None]
) -> None:
    worker = place.serving
    assert worker is not None
    process = cast(Any, worker.process)
    process.send_signal = lambda number: None
    process.kill = lambda: starter.end(worker, -9)
    worker.leave()
    assert await worker.end() == -9


@asynchronous
async def test_who_comes_back_elsewhere_is_looked_for_by_all_others(starter: Starter) -> None:
    supervisor = Supervisor(Plan((), (), 1, "", False), on_ready=lambda enode: None)
    notes: list[tuple[int, tuple[str, ...]]] = []
    workers = [await starter.start(cast(Any, None), part) for part in range(3)]
    for part, worker in enumerate(workers):
        worker.channel = cast(
            Any, SimpleNamespace(note=lambda *note, part=part: notes.append((part, note)))
        )
        supervisor._running[worker] = cast(Any, None)
    await supervisor._handle(cast(Any, None), workers[1], "probe", ["abcd"])
    assert notes == [(0, ("probe", "abcd")), (2, ("probe", "abcd"))]


def test_how_a_process_ended() -> None:
    assert describe(None) == "it did not end"
    assert describe(1) == "exit code 1"
    assert describe(-9) == "killed by SIGKILL"
    assert describe(-127) == "killed by signal 127"
