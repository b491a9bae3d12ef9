"""The client processes. Each opens the load that it is sent, and prepares and runs on command."""

import contextlib
import gc
import os
import signal
import time
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from typing import Self

from wakumail.base.held_signals import signals_held
from wakumail.devp2p.enode import Enode
from wakumail.errors import WakumailError
from wakumail.load.clients.blocking_connection import PING_CHECK_INTERVAL
from wakumail.load.clients.role import Load, LoadFailed, Outcome, Role
from wakumail.load.parent_death import end_with_parent

SPAWN_CONTEXT = get_context("spawn")


FAILURES = LoadFailed, WakumailError, OSError

CLIENT_END_TIMEOUT = 2.0
"""Seconds in which client processes end by themselves; then they are killed."""


class ClientProcess:
    """A client process. An `await_answer` follows each `send_command`: several work at once."""

    def __init__(self) -> None:
        self._pipe, theirs = SPAWN_CONTEXT.Pipe()
        self._stop = SPAWN_CONTEXT.Event()
        self._process: SpawnProcess = SPAWN_CONTEXT.Process(
            target=client_main, args=(os.getpid(), theirs, self._stop), daemon=True
        )
        # Ctrl-C is for the bench, which ends this process, whatever it does by then.
        with signals_held([signal.SIGINT]):
            self._process.start()
        theirs.close()

    def send_command(self, what: str, *arguments: object) -> None:
        """Send a command: `open` with a load and an enode, `prepare`, `run` or `close`."""
        if what == "run":
            self._stop.clear()
        self._pipe.send((what, arguments))

    def await_answer(self) -> Outcome | None:
        """Wait until the command is done. Returns the outcome of a run. LoadFailed if it failed."""
        try:
            answer = self._pipe.recv()
        except EOFError:
            raise LoadFailed("a client process died") from None
        if isinstance(answer, str):
            raise LoadFailed(answer)
        outcome: Outcome | None = answer
        return outcome

    def stop(self) -> None:
        """End a run that does not end by itself."""
        self._stop.set()

    def ask_to_end(self) -> None:
        """Let the process end when its command is done."""
        self._stop.set()
        self._pipe.close()

    def end(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for the end of the process, then kill it."""
        try:
            self._process.join(timeout)
        finally:
            self._process.kill()
            self._process.join()


class ClientPool:
    """Client processes, which are kept from one case to the next."""

    def __init__(self) -> None:
        self._idle: list[ClientProcess] = []
        self._busy: list[ClientProcess] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        end_all(self._idle)
        self.end_busy()

    def end_busy(self) -> None:
        """End all processes of a case that has failed."""
        end_all(self._busy)
        self._busy.clear()

    def open(self, loads: Sequence[Load], enode: Enode) -> "Clients":
        """Open clients with these loads, each in a process of its own."""
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
        """Keep these processes for the next case."""
        for process in processes:
            self._busy.remove(process)
            self._idle.append(process)


def end_all(processes: Sequence[ClientProcess]) -> None:
    """End these processes within CLIENT_END_TIMEOUT."""
    for process in processes:
        process.ask_to_end()
    deadline = time.monotonic() + CLIENT_END_TIMEOUT
    for process in processes:
        process.end(max(0.0, deadline - time.monotonic()))


class Clients:
    """Clients that work at the same time."""

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
        """Let each client prepare its run. This is not measured."""
        self._all("prepare")

    def start(self) -> None:
        """Start a run. `finish` has to follow."""
        for process in self._processes:
            process.send_command("run")

    def finish(self) -> list[Outcome]:
        """Wait for the end of the run; the outcome of each client."""
        return [
            outcome
            for process in self._processes
            if (outcome := process.await_answer()) is not None
        ]

    def stop(self) -> None:
        """End a run that does not end by itself. `finish` still has to follow."""
        for process in self._processes:
            process.stop()

    def run(self) -> list[Outcome]:
        """Run to the end; the outcome of each client."""
        self.start()
        return self.finish()

    def _all(self, what: str) -> None:
        for process in self._processes:
            process.send_command(what)
        for process in self._processes:
            process.await_answer()


def client_main(bench: int, pipe: Connection, stop: Event) -> None:
    """Do the commands of the bench until it closes the pipe, and answer pings meanwhile."""
    end_with_parent(bench)
    gc.disable()  # its pauses would count as the server's
    role: Role | None = None
    failure = ""
    with contextlib.suppress(EOFError, ConnectionError):  # the bench has closed the pipe
        while True:
            while not pipe.poll(PING_CHECK_INTERVAL):
                if role is not None and not failure:
                    try:
                        role.answer_pings()
                    except FAILURES as error:
                        failure = text_of(error)  # the answer to the next command
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
    """The text of an error, or else its class."""
    return str(error) or type(error).__name__


def perform(role: Role, what: str, stop: Event) -> Outcome | None:
    """Do a `prepare` or a `run`. Only the run is measured."""
    if what == "run":
        began, cpu = time.monotonic(), time.process_time()
        role.run(lambda: not stop.is_set())
        ended, cpu = time.monotonic(), time.process_time() - cpu
        return Outcome(role.tally(), began, ended, cpu)
    role.prepare()
    gc.collect()
    return None
