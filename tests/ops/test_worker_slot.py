"""Slots whose worker dies, is renewed or does not stop."""

import asyncio
import signal
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest

from tests.support.connections import BOB_ID
from tests.support.patience import asynchronous, eventually, turns
from wakumail.counters import Counters
from wakumail.ops.service_manager import ServiceManager
from wakumail.ops.workers import worker_process as process_module
from wakumail.ops.workers import worker_slot as slot_module
from wakumail.ops.workers.supervisor import Plan, Supervisor
from wakumail.ops.workers.worker_process import WorkerFailed, WorkerProcess, describe_exit
from wakumail.ops.workers.worker_slot import MAX_DEATHS, WorkerSlot


class Starter:
    """Starts workers without processes, which end when the test says so."""

    def __init__(self) -> None:
        self.workers: list[WorkerProcess] = []
        self.ready = True

    async def start(self, slot: WorkerSlot, part: int) -> WorkerProcess:
        process = SimpleNamespace(pid=1, returncode=None, kill=lambda: None)
        worker = WorkerProcess(cast(Any, process), cast(Any, None), part)
        process.send_signal = lambda number: self.end(worker, 0)
        self.workers.append(worker)
        if self.ready:
            worker.ready_at = asyncio.get_running_loop().time()
            worker.settled.set()
        else:
            self.end(worker, 1)
        return worker

    def end(self, worker: WorkerProcess, code: int) -> None:
        cast(Any, worker.process).returncode = code
        worker.ended.set()
        worker.settled.set()


@pytest.fixture
def starter(monkeypatch: pytest.MonkeyPatch) -> Starter:
    monkeypatch.setattr(slot_module, "MIN_RESTART_DELAY", 0.0)
    monkeypatch.setattr(process_module, "STOP_TIMEOUT", 0.01)
    return Starter()


def with_a_slot(test: Any) -> Any:
    async def run(starter: Starter) -> None:
        slot = WorkerSlot(0, cast(Any, None), starter.start)
        await slot.begin()
        keeping = asyncio.create_task(slot.keep())
        try:
            await test(starter, slot, keeping)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    return asynchronous(run)


@with_a_slot
async def test_who_dies_again_and_again_is_given_up(
    starter: Starter, slot: WorkerSlot, keeping: asyncio.Task[None]
) -> None:
    for number in range(MAX_DEATHS):
        await eventually(lambda: len(starter.workers) == number + 1)  # noqa: B023
        starter.end(starter.workers[-1], -9)
    with pytest.raises(WorkerFailed, match=f"worker 0 died {MAX_DEATHS} times in a row"):
        await keeping
    assert {worker.part for worker in starter.workers} == {0, 1}


@with_a_slot
async def test_who_lasts_in_between_is_not(
    starter: Starter, slot: WorkerSlot, keeping: asyncio.Task[None]
) -> None:
    for number in range(2 * MAX_DEATHS):
        await eventually(lambda: len(starter.workers) == number + 1)  # noqa: B023
        worker = starter.workers[-1]
        if number % 2:
            assert worker.ready_at is not None
            worker.ready_at -= slot_module.STABLE_UPTIME
        starter.end(worker, -9)
    await eventually(lambda: len(starter.workers) == 2 * MAX_DEATHS + 1)
    assert not keeping.done()


@with_a_slot
async def test_a_successor_that_does_not_start_leaves_all_as_it_is(
    starter: Starter, slot: WorkerSlot, keeping: asyncio.Task[None]
) -> None:
    first = slot.serving
    starter.ready = False
    with pytest.raises(WorkerFailed, match="worker 0 did not start: exit code 1"):
        await slot.renew()
    assert slot.serving is first is not None
    starter.ready = True
    await slot.renew()
    assert slot.serving is starter.workers[-1]
    assert first.ended.is_set()
    await turns()  # so that `keep` sees the end of the first
    assert len(starter.workers) == 3
    assert not keeping.done()


@with_a_slot
async def test_who_does_not_stop_is_killed(
    starter: Starter, slot: WorkerSlot, keeping: asyncio.Task[None]
) -> None:
    worker = slot.serving
    assert worker is not None
    process = cast(Any, worker.process)
    process.send_signal = lambda number: None
    process.kill = lambda: starter.end(worker, -9)
    worker.leave()
    assert await worker.end() == -9


class Crew:
    """A supervisor and three workers without processes; the last is not ready yet."""

    def __init__(self) -> None:
        self.supervisor = Supervisor(
            Plan((), (), 1, ""),
            Counters(),
            ServiceManager({}),
            on_ready=lambda enode: None,
            check=AsyncMock(return_value=True),
        )
        self.told: list[list[tuple[Any, ...]]] = []
        """The calls and notes to each worker."""
        self.workers: list[WorkerProcess] = []

    @classmethod
    async def start(cls, starter: Starter) -> "Crew":
        crew = cls()
        for part in range(3):
            crew._add(await starter.start(cast(Any, None), part))
        crew.workers[2].ready_at = None
        return crew

    def _add(self, worker: WorkerProcess) -> None:
        told: list[tuple[Any, ...]] = []

        async def call(*params: Any) -> None:
            told.append(params)

        channel = SimpleNamespace(note=lambda *params: told.append(params), call=call)
        worker.channel = cast(Any, channel)
        self.told.append(told)
        self.workers.append(worker)
        self.supervisor._running[worker] = cast(Any, None)

    async def says(self, number: int, method: str, *params: Any) -> Any:
        """The answer of the supervisor to a worker."""
        listener = SimpleNamespace(fileno=lambda: 0)
        slot = cast(Any, SimpleNamespace(number=number, listener=listener))
        return await self.supervisor._handle(slot, self.workers[number], method, list(params))


@asynchronous
async def test_who_comes_back_elsewhere_is_looked_for_by_all_others(starter: Starter) -> None:
    crew = await Crew.start(starter)
    await crew.says(1, "probe", "abcd")
    assert crew.told == [[("probe", "abcd")], [], []]


@asynchronous
async def test_who_begins_hears_what_is_ordered_meanwhile(starter: Starter) -> None:
    crew = await Crew.start(starter)
    before, since = ("waku_setMinPoW", [0.25]), ("waku_setMinPoW", [0.5])
    own = ("waku_setMaxEnvelopeSize", [100_000])
    await crew.says(0, "hello", "")
    await crew.says(0, "order", *before)
    assert (await crew.says(2, "hello", ""))["orders"] == [before]
    await crew.says(2, "order", *own)
    await crew.says(0, "order", *since)
    assert crew.told[1:] == [[("order", *before), ("order", *own), ("order", *since)], []]
    await crew.says(2, "ready", "enode")
    assert crew.told[2] == [("order", *since)]
    await crew.says(0, "order", *before)
    assert crew.told[2][-1] == ("order", *before)


@asynchronous
async def test_the_last_order_about_a_node_holds_whatever_its_address(starter: Starter) -> None:
    crew = await Crew.start(starter)
    here, there = (f"enode://{BOB_ID.hex()}@192.0.2.{n}:1" for n in (1, 2))
    trust, distrust = "waku_markTrustedPeer", "admin_removeTrustedPeer"
    for order in ((trust, [here]), ("admin_addPeer", [here]), (distrust, [there]), (trust, [here])):
        await crew.says(0, "order", *order)
    orders = (await crew.says(2, "hello", ""))["orders"]
    assert orders == [("admin_addPeer", [here]), (trust, [here])]


def test_how_a_process_ended() -> None:
    assert describe_exit(None) == "it did not end"
    assert describe_exit(1) == "exit code 1"
    assert describe_exit(-9) == "killed by SIGKILL"
    assert describe_exit(-127) == "killed by signal 127"


@asynchronous
async def test_a_worker_is_told_to_stop_once(starter: Starter) -> None:
    """Its handlers may be gone near its end: a second signal would kill it."""
    worker = await starter.start(cast(Any, None), 0)
    signals: list[int] = []
    cast(Any, worker.process).send_signal = signals.append
    worker.leave()
    worker.leave()
    assert signals == [signal.SIGTERM]
