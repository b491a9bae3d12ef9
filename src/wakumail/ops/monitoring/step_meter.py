"""Measures every step of the event loop, for `wakumail bench steps`.

A step is all that the loop does between two looks at its sockets. The samples of Health.lag miss
most of them. The meter takes part in every round of the loop, which then never waits for its
sockets: it is for the bench alone.

The time in which the system let other processes run does not count. The time in which another
thread of this process had the interpreter's lock does.
"""

import asyncio
import os
import socket
import time

SCHEDULE = "/proc/thread-self/schedstat"
"""Nanoseconds on a core, nanoseconds of waiting for one, and the number of slices (proc(5))."""

SCHEDULE_SIZE = 64

MAX_READING_TIME = 0.0005
"""Seconds in which both clocks are read."""

IDLE_STEP = 0.0001
"""Seconds. A step that is shorter had nothing to do."""

PAUSE = 0.0002
"""Seconds of sleep after such a step: they do not count, and leave the processor to others."""


class StepMeter:
    """Measures the loop that starts it.

    For each byte that comes on `wire` it answers with a line: the longest step since the last one,
    in seconds.
    """

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self._schedule = os.open(SCHEDULE, os.O_RDONLY | os.O_CLOEXEC)
        self._longest = 0.0
        self._last = self._held()
        self.measuring = False
        """True while there is a bench at the other end of the wire."""

    def start(self) -> None:
        """Measure from now on, until the wire is closed."""
        self.measuring = True
        self._wire.setblocking(False)
        self._loop.add_reader(self._wire, self._report)
        self._last = self._held()
        self._loop.call_soon(self._step)

    def _held(self) -> float:
        """Seconds without those in which this thread was ready and had no core."""
        while True:
            before = time.monotonic()
            waited = int(os.pread(self._schedule, SCHEDULE_SIZE, 0).split()[1])
            now = time.monotonic()
            if now - before < MAX_READING_TIME:  # no other process ran between the two
                return now - waited / 1e9

    def _step(self) -> None:
        if self._measure() < IDLE_STEP:
            time.sleep(PAUSE)
            self._last = self._held()
        if self.measuring:
            self._loop.call_soon(self._step)

    def _measure(self) -> float:
        """The seconds of the step that ends now."""
        now = self._held()
        taken = now - self._last
        self._longest = max(self._longest, taken)
        self._last = now
        return taken

    def _report(self) -> None:
        """Answer. The step that is not over yet counts for what came before the question."""
        self._measure()
        if not self._wire.recv(1):
            self._loop.remove_reader(self._wire)
            self._wire.close()
            self.measuring = False
            return
        self._wire.send(b"%.6f\n" % self._longest)
        self._longest = 0.0
