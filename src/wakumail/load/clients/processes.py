"""The client processes: each plays the role that it is given, when it is told to."""

import contextlib
import gc
import time
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from typing import Self

from wakumail.devp2p.enode import Enode
from wakumail.errors import WakumailError
from wakumail.load.clients.role import Load, LoadFailed, Outcome, Role

SPAWN = get_context("spawn")


END_TIMEOUT = 2.0
"""Seconds for a client process to end by itself."""


class Hand:
    """A client process. Each `begin` is followed by an `end`, so several work at once."""

    def __init__(self) -> None:
        self._pipe, theirs = SPAWN.Pipe()
        self._stop = SPAWN.Event()
        self._process: SpawnProcess = SPAWN.Process(
            target=work, args=(theirs, self._stop), daemon=True
        )
        self._process.start()
        theirs.close()

    def begin(self, what: str, *arguments: object) -> None:
        """Tell it what to do: `open`, `prepare`, `run` or `close`."""
        if what == "run":
            self._stop.clear()
        self._pipe.send((what, arguments))

    def end(self) -> Outcome | None:
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

    def dismiss(self) -> None:
        """End the process, whatever it does."""
        self._stop.set()
        self._pipe.close()
        self._process.join(END_TIMEOUT)
        self._process.kill()
        self._process.join()


class Crew:
    """Client processes, kept from one case to the next."""

    def __init__(self) -> None:
        self._idle: list[Hand] = []
        self._busy: list[Hand] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.give_up()
        for hand in self._idle:
            hand.dismiss()

    def give_up(self) -> None:
        """Part from all that are at something: it has failed."""
        for hand in self._busy:
            hand.dismiss()
        self._busy.clear()

    def open(self, loads: Sequence[Load], enode: Enode) -> "Gang":
        """Clients with these loads, connected."""
        while len(self._idle) < len(loads):
            self._idle.append(Hand())
        hands = [self._idle.pop() for _ in loads]
        self._busy += hands
        for hand, load in zip(hands, loads, strict=True):
            hand.begin("open", load, enode)
        for hand in hands:
            hand.end()
        return Gang(self, hands)

    def release(self, hands: Sequence[Hand]) -> None:
        """These are free for the next case."""
        for hand in hands:
            self._busy.remove(hand)
            self._idle.append(hand)


class Gang:
    """Clients that are at it together."""

    def __init__(self, crew: Crew, hands: Sequence[Hand]) -> None:
        self._crew = crew
        self._hands = hands

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._all("close")
            self._crew.release(self._hands)

    def prepare(self) -> None:
        """Let each do what need not be measured."""
        self._all("prepare")

    def start(self) -> None:
        """Begin a run; `finish` has to follow."""
        for hand in self._hands:
            hand.begin("run")

    def finish(self) -> list[Outcome]:
        """Wait for the end of the run."""
        return [outcome for hand in self._hands if (outcome := hand.end()) is not None]

    def stop(self) -> None:
        """End a run that has no end of its own; `finish` still has to follow."""
        for hand in self._hands:
            hand.stop()

    def run(self) -> list[Outcome]:
        """Run to the end."""
        self.start()
        return self.finish()

    def _all(self, what: str) -> None:
        for hand in self._hands:
            hand.begin(what)
        for hand in self._hands:
            hand.end()


def work(pipe: Connection, stop: Event) -> None:
    """The life of a client process."""
    gc.disable()  # a pause would be taken for the server's
    role: Role | None = None
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            what, arguments = pipe.recv()
            try:
                if what == "open":
                    load, enode = arguments
                    role = load.open(enode)
                    answer: Outcome | str | None = None
                else:
                    assert role is not None
                    answer = act(role, what, stop)
            except (LoadFailed, WakumailError, OSError) as error:
                answer = str(error) or type(error).__name__
            pipe.send(answer)


def act(role: Role, what: str, stop: Event) -> Outcome | None:
    """Do one thing; only `run` is measured."""
    if what == "run":
        began, cpu = time.monotonic(), time.process_time()
        role.run(lambda: not stop.is_set())
        ended, cpu = time.monotonic(), time.process_time() - cpu
        return Outcome(role.tally(), began, ended, cpu)
    if what == "prepare":
        role.prepare()
        gc.collect()
    else:
        role.close()
        gc.collect()
    return None
