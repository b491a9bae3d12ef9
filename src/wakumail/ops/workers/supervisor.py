"""The supervisor: starts the workers, replaces those that die, and holds what they share.

It holds the sockets that share the port, so that none closes while its worker is replaced, the
table of peers, the memory of judgements, and the eventfds by which workers wake each other. It
passes calls from one worker to the others. One worker leads: it alone has the RPC API and the pages
of metrics, dials the named peers and prunes the archive. When it is gone, another leads.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from wakumail.base.tasks import end_tasks
from wakumail.counters import Counters
from wakumail.ops.monitoring.report import Problem, Report, counted, together
from wakumail.ops.reload import whenever
from wakumail.ops.service_manager import ServiceManager
from wakumail.ops.workers.channel import open_channel
from wakumail.ops.workers.methods import SYNC, subject
from wakumail.ops.workers.registry import Registry
from wakumail.ops.workers.shared import make_judgements, make_wake_ups
from wakumail.ops.workers.worker_process import WorkerFailed, WorkerProcess
from wakumail.ops.workers.worker_slot import WorkerSlot

log = logging.getLogger(__name__)

COLLECT_INTERVAL = 5.0
"""Seconds between two reports of the workers. A worker that is killed loses its counts since the
last."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The task of a supervisor."""

    command: Sequence[str]
    """Starts a worker; the descriptor of its channel is appended."""
    listeners: Sequence[socket.socket]
    """A listening socket for each worker, on one port."""
    maxpeers: int
    datadir: str


class Supervisor:
    """Runs the workers of one server; on one event loop."""

    def __init__(
        self,
        plan: Plan,
        counters: Counters,
        manager: ServiceManager,
        on_ready: Callable[[str], None],
        check: Callable[[], Awaitable[bool]],
    ) -> None:
        """`on_ready` is called with the enode once all workers take connections.

        check: before workers are replaced; False leaves them.
        counters: those of the supervisor itself; reports have them too.
        """
        self._plan = plan
        self._counters = counters
        self._manager = manager
        self._on_ready = on_ready
        self._check = check
        self._slots = [WorkerSlot(n, own, self._start) for n, own in enumerate(plan.listeners)]
        self._registry = Registry.create(2 * len(self._slots), plan.maxpeers)
        self._wake_ups = make_wake_ups(2 * len(self._slots))
        self._judgements = make_judgements()
        self._running: dict[WorkerProcess, asyncio.Task[None]] = {}
        self._leader: WorkerProcess | None = None
        self._enode = ""
        self._orders: dict[str, tuple[str, list[Any]]] = {}
        self._retired = Report([], [])
        """The counts of the workers that have ended."""

    async def run(self, stopped: asyncio.Event, renewal: asyncio.Event) -> int:
        """Serve until `stopped`; replace all workers whenever `renewal` is set.

        Returns 1 if a worker ended with an error at the stop, else 0. WorkerFailed if one does not
        start, or dies again and again.
        """
        try:
            await _first_of(stopped.wait(), self._begin())
            if not stopped.is_set():
                self._on_ready(self._enode)
                self._manager.ready()
                await _first_of(
                    stopped.wait(),
                    whenever(renewal, self._manager, self._renew),
                    self._collect(),
                    self._manager.watch(self._state),
                    *(slot.keep() for slot in self._slots),
                )
        finally:
            code = await self._stop()
        return code

    # -- processes ----------------------------------------------------------------------------

    async def _begin(self) -> None:
        await asyncio.gather(*(slot.begin() for slot in self._slots))

    async def _renew(self) -> None:
        if not await self._check():
            return
        try:
            for slot in self._slots:
                await slot.renew()
        except WorkerFailed as error:
            log.error("the rolling restart has stopped: %s", error)
        else:
            log.info("all workers were replaced")

    async def _stop(self) -> int:
        """Stop all workers and wait for them; 1 if one ended with an error."""
        log.info("stopping")
        self._manager.stopping()
        workers = list(self._running)
        for worker in workers:
            worker.leave()
        codes = await asyncio.gather(*(worker.end() for worker in workers))
        await asyncio.gather(*self._running.values())
        self._registry.close()
        listeners = (own.fileno() for own in self._plan.listeners)
        for descriptor in (self._judgements, *self._wake_ups, *listeners):
            os.close(descriptor)
        # A worker that took no connections yet may have had no handler for the signal.
        return int(any(c for w, c in zip(workers, codes, strict=True) if w.ready_at is not None))

    async def _start(self, slot: WorkerSlot, part: int) -> WorkerProcess:
        """Start a process."""

        async def handle(method: str, params: list[Any]) -> Any:
            return await self._handle(slot, worker, method, params)

        own, theirs = socket.socketpair()
        shared = (self._registry.descriptor, self._judgements, *self._wake_ups)
        given = (theirs.fileno(), slot.listener.fileno(), *shared)
        command = (*self._plan.command, str(theirs.fileno()))
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                pass_fds=given,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
            )
            channel = await open_channel(own, handle)
        except BaseException:
            own.close()  # A process that was started already ends with it.
            raise
        finally:
            theirs.close()
        worker = WorkerProcess(process, channel, part)
        self._running[worker] = asyncio.create_task(self._watch(worker))
        return worker

    async def _watch(self, worker: WorkerProcess) -> None:
        """Wait for the end of a worker, then clear what it leaves."""
        await worker.process.wait()
        await worker.channel.closed.wait()
        await worker.channel.close()
        self._registry.clear(worker.part)
        if worker.report is not None:
            self._retired = together((self._retired, worker.report.last_words()))
        del self._running[worker]
        worker.ended.set()
        worker.settled.set()
        self._resign(worker)

    def _resign(self, worker: WorkerProcess) -> None:
        """Let another worker lead, or the next that takes connections."""
        if worker is self._leader:
            self._leader = None
            self._appoint(*(slot.serving for slot in self._slots))

    def _appoint(self, *candidates: WorkerProcess | None) -> None:
        """Let the first of these workers lead, if none does."""
        for candidate in candidates:
            if self._leader is None and candidate is not None:
                self._leader = candidate
                candidate.channel.note("lead", list(self._orders.values()))

    # -- calls of the workers -----------------------------------------------------------------

    async def _handle(
        self, slot: WorkerSlot, worker: WorkerProcess, method: str, params: list[Any]
    ) -> Any:
        match method, params:
            case "hello", [str(datadir)]:
                return self._hello(slot, worker, datadir)
            case "ready", [str(enode)]:
                self._on_serving(slot, worker, enode)
            case "resign", []:
                worker.leaving = True
                self._resign(worker)
            case "counted", [report]:
                worker.report = Report.read(report)
            case "ask", [str(name), list(arguments)]:
                return await self._ask_others(worker, name, *arguments)
            case "sync", [str(peer), list(arguments)]:
                return await self._sync_elsewhere(worker, peer, *arguments)
            case "order", [str(name), list(arguments)]:
                await self._order(worker, name, arguments)
            case "report", [report]:
                worker.report = Report.read(report)
                return await self._report(worker)
            case "problems", [problems]:
                return await self._problems(worker, [Problem(*problem) for problem in problems])
            case "equal", [int(first), int(last)]:
                if self._leader is not None:
                    self._leader.channel.note("equal", first, last)
            case "probe", [str(identity)]:
                for other in self._others(worker):
                    other.channel.note("probe", identity)
            case _:
                raise WorkerFailed(f"the supervisor knows no {method}: restart the whole server")
        return None

    def _hello(self, slot: WorkerSlot, worker: WorkerProcess, datadir: str) -> dict[str, Any]:
        """The answer to a new worker: its number, and the descriptors of what workers share."""
        if datadir != self._plan.datadir:
            raise WorkerFailed("another datadir needs a restart of the whole server")
        if self._leader is None:
            self._leader = worker
        worker.missed.clear()  # The answer has all orders.
        return {
            "number": slot.number,
            "part": worker.part,
            "listener": slot.listener.fileno(),
            "registry": self._registry.descriptor,
            "judgements": self._judgements,
            "bells": self._wake_ups,
            "leads": worker is self._leader,
            "orders": list(self._orders.values()),
        }

    def _on_serving(self, slot: WorkerSlot, worker: WorkerProcess, enode: str) -> None:
        self._enode = self._enode or enode
        if enode != self._enode:
            text = "another node key, port or address needs a restart of the whole server"
            log.error("%s: %s is not %s", text, enode, self._enode)
            worker.process.kill()
            return
        log.info("worker %d, process %d, takes connections", slot.number, worker.process.pid)
        worker.ready_at = time.monotonic()
        worker.settled.set()
        for name, arguments in worker.missed:
            worker.channel.note("order", name, arguments)
        self._appoint(worker)

    async def _order(self, worker: WorkerProcess, name: str, arguments: list[Any]) -> None:
        """Pass an order to all other workers, and keep it for later ones, in the order given."""
        about = subject(name, arguments)
        self._orders.pop(about, None)
        self._orders[about] = name, arguments
        for other in self._running:
            if other is not worker and other.ready_at is None:
                other.missed.append((name, arguments))
        await self._ask_others(worker, "order", name, arguments)

    def _others(self, worker: WorkerProcess) -> list[WorkerProcess]:
        return [other for other in self._running if other is not worker and other.ready_at]

    async def _ask_others(self, worker: WorkerProcess, method: str, *params: Any) -> list[Any]:
        """The answers of all other workers that answer."""
        asked = (other.ask(method, *params) for other in self._others(worker))
        return [answer for answer in await asyncio.gather(*asked) if answer is not None]

    async def _sync_elsewhere(self, worker: WorkerProcess, peer: str, *params: Any) -> Any:
        """The outcome of rounds at another worker, to which the peer is connected; else None.

        CallRefused for rounds that failed. They may take long.
        """
        for other in self._others(worker):
            if await other.ask("syncs", peer):
                return await other.channel.call(SYNC, *params)
        return None

    async def _state(self) -> tuple[bool, str]:
        """True if every worker goes on, and the states of those that answer, in words."""
        serving = [(slot.number, slot.serving) for slot in self._slots]
        asked = [(number, worker) for number, worker in serving if worker is not None]
        answers = await asyncio.gather(*(worker.ask("state") for _, worker in asked))
        goes_on = all(answer is None or answer[0] for answer in answers)
        hung = [worker for _, worker in asked if worker.hangs]
        states = [
            f"worker {number}: {answer[1] if answer is not None else 'does not answer'}"
            for (number, _), answer in zip(asked, answers, strict=True)
        ]
        return goes_on and not hung, "; ".join(states) or "no worker takes connections"

    # -- reports of all workers ---------------------------------------------------------------

    async def _collect(self) -> None:
        while True:
            await self._read_reports(self._running)
            await asyncio.sleep(COLLECT_INTERVAL)

    async def _read_reports(self, workers: Iterable[WorkerProcess]) -> None:
        async def read(worker: WorkerProcess) -> None:
            if (report := await worker.ask("report")) is not None:
                worker.report = Report.read(report)

        await asyncio.gather(*(read(worker) for worker in workers if worker.ready_at))

    async def _report(self, asking: WorkerProcess) -> Report:
        """The sum of all reports; for a worker that does not answer, its last one."""
        await self._read_reports(self._others(asking))
        reports = [worker.report for worker in self._running if worker.report is not None]
        return together((self._retired, *reports, counted(self._counters)))

    async def _problems(self, asking: WorkerProcess, own: list[Problem]) -> list[Problem]:
        """The problems of all workers, also that one does not answer."""

        async def look_at(slot: WorkerSlot) -> list[Problem]:
            if (worker := slot.serving) is None:
                return [Problem("listening", "does not run", 0.0)]
            if worker is asking:
                return own
            problems = await worker.ask("problems")
            if worker.silent_since is not None:
                silent = time.monotonic() - worker.silent_since
                return [Problem("event loop", "does not answer", silent)]
            return [Problem(*problem) for problem in problems or ()]

        found = await asyncio.gather(*(look_at(slot) for slot in self._slots))
        return [
            problem._replace(reason=f"worker {slot.number}: {problem.reason}")
            for slot, problems in zip(self._slots, found, strict=True)
            for problem in problems
        ]


async def _first_of(*waiting: Coroutine[Any, Any, Any]) -> None:
    """Wait until one is done, then cancel the others; raises its error."""
    tasks = [asyncio.create_task(each) for each in waiting]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await end_tasks(tasks)
