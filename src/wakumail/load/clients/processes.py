"""The client processes: each plays the role that it is given, when it is told to."""

import contextlib
import gc
import os
import time
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from typing import Self

from wakumail.devp2p.enode import Enode
from wakumail.errors import WakumailError
from wakumail.load.clients.blocking_connection import PING_CHECK_INTERVAL
from wakumail.load.clients.role import Load, LoadFailed, Outcome, Role
from wakumail.load.parent_death import end_with_parent

SPAWN_CONTEXT = get_context("spawn")


FAILURES = LoadFailed, WakumailError, OSError

CLIENT_END_TIMEOUT = 2.0
"""Seconds for client processes to end by themselves."""


class ClientProcess:
    """A client process. Each `begin` is followed by an `end`, so several work at once."""

    def __init__(self) -> None:
        self._pipe, theirs = SPAWN_CONTEXT.Pipe()
        self._stop = SPAWN_CONTEXT.Event()
        self._process: SpawnProcess = SPAWN_CONTEXT.Process(
            target=client_main, args=(os.getpid(), theirs, self._stop), daemon=True
        )
        self._process.start()
        theirs.close()

    def send_command(self, what: str, *arguments: object) -> None:
        """Tell it what to do: `open`, `prepare`, `run` or `close`."""
        if what == "run":
            self._stop.clear()
        self._pipe.send((what, arguments))

    def await_answer(self) -> Outcome | None:
        """Wait until it is done; what came of a run. LoadFailed with what went wrong."""
        try:
            answer = self._pipe.recv()
        except EOFError:
            raise LoadFailed("a client process died") from None
        if isinstance(answer, str):
            raise LoadFailed(answer)
        outcome: Outcome | None = answer
        return outcome

    def stop(self) -> None:
        """End a run that has no end of its own."""
        self._stop.set()

    def ask_to_end(self) -> None:
        """Let it end by itself, once it is done."""
        self._stop.set()
        self._pipe.close()

    def end(self, timeout: float) -> None:
        """Wait so many seconds until it has ended, then kill it."""
        try:
            self._process.join(timeout)
        finally:
            self._process.kill()
            self._process.join()


class ClientPool:
    """Client processes, kept from one case to the next."""

    def __init__(self) -> None:
        self._idle: list[ClientProcess] = []
        self._busy: list[ClientProcess] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        end_all(self._idle)
        self.end_busy()

    def end_busy(self) -> None:
        """Part from all that are at something: it has failed."""
        end_all(self._busy)
        self._busy.clear()

    def open(self, loads: Sequence[Load], enode: Enode) -> "Clients":
        """Clients with these loads, connected."""
        while len(self._idle) < len(loads):
            self._idle.append(ClientProcess())
        processes = [self._idle.pop() for _ in loads]
        self._busy += processes
        for process, load in zip(processes, loads, strict=True):
            process.send_command("open", load, enode)
        for process in processes:
            process.await_answer()
        return Clients(self, processes)

    def release(self, processes: Sequence[ClientProcess]) -> None:
        """These are free for the next case."""
        for process in processes:
            self._busy.remove(process)
            self._idle.append(process)


def end_all(processes: Sequence[ClientProcess]) -> None:
    """End these processes: all have CLIENT_END_TIMEOUT together."""
    for process in processes:
        process.ask_to_end()
    deadline = time.monotonic() + CLIENT_END_TIMEOUT
    for process in processes:
        process.end(max(0.0, deadline - time.monotonic()))


class Clients:
    """Clients that are at it together."""

    def __init__(self, pool: ClientPool, processes: Sequence[ClientProcess]) -> None:
        self._pool = pool
        self._processes = processes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._all("close")
            self._pool.release(self._processes)

    def prepare(self) -> None:
        """Let each do what need not be measured."""
        self._all("prepare")

    def start(self) -> None:
        """Begin a run; `finish` has to follow."""
        for process in self._processes:
            process.send_command("run")

    def finish(self) -> list[Outcome]:
        """Wait for the end of the run."""
        return [
            outcome
            for process in self._processes
            if (outcome := process.await_answer()) is not None
        ]

    def stop(self) -> None:
        """End a run that has no end of its own; `finish` still has to follow."""
        for process in self._processes:
            process.stop()

    def run(self) -> list[Outcome]:
        """Run to the end."""
        self.start()
        return self.finish()

    def _all(self, what: str) -> None:
        for process in self._processes:
            process.send_command(what)
        for process in self._processes:
            process.await_answer()


def client_main(bench: int, pipe: Connection, stop: Event) -> None:
    """Do what the bench says, until it hangs up; answer pings meanwhile."""
    end_with_parent(bench)
    gc.disable()  # a pause would be taken for the server's
    role: Role | None = None
    failure = ""
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            while not pipe.poll(PING_CHECK_INTERVAL):
                if role is not None and not failure:
                    try:
                        role.answer_pings()
                    except FAILURES as error:
                        failure = text_of(error)  # told when the next thing is to be done
            what, arguments = pipe.recv()
            answer: Outcome | str | None = failure or None
            try:
                if what == "open":
                    load, enode = arguments
                    role, failure, answer = load.open(enode), "", None
                elif what == "close":
                    assert role is not None
                    role.close()
                    gc.collect()
                    role, answer = None, None
                elif not failure:
                    assert role is not None
                    answer = perform(role, what, stop)
            except FAILURES as error:
                answer = text_of(error)
            pipe.send(answer)


def text_of(error: Exception) -> str:
    """An error for a person."""
    return str(error) or type(error).__name__


def perform(role: Role, what: str, stop: Event) -> Outcome | None:
    """Prepare, or run; only the run is measured."""
    if what == "run":
        began, cpu = time.monotonic(), time.process_time()
        role.run(lambda: not stop.is_set())
        ended, cpu = time.monotonic(), time.process_time() - cpu
        return Outcome(role.tally(), began, ended, cpu)
    role.prepare()
    gc.collect()
    return None
