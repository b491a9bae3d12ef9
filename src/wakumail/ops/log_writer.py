"""The log of a server: a thread writes the lines, so that no reader can hold up the event loop."""

import logging
import os
import select
import time
from collections import deque
from threading import Condition, Thread

from wakumail.base.held_signals import signals_held
from wakumail.base.main_task import END_SIGNALS
from wakumail.counters import Counters

log = logging.getLogger(__name__)

MAX_UNWRITTEN = 1 << 20
"""Most bytes of lines that wait to be written; further lines are dropped and counted."""

FLUSH_TIMEOUT = 1.0
"""Seconds that the lines which wait have for room when the process ends: nobody may read them."""

FLUSH_LIMIT = 30.0
"""Seconds that they have in all: a disk may hang, or a busy machine leave the thread no time."""

POLL_INTERVAL = 1000
"""Milliseconds between two looks at a descriptor that does not block and takes no more."""

COUNTER = "log_lines_dropped"

DROPPED = "%d log lines were dropped: they could not be written"


class LogWriter(logging.Handler):
    """Writes lines to a descriptor in a thread; drops and counts those that do not fit or fail."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.dropped = 0
        """Lines that were dropped so far."""
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._unwritten = 0
        self._changed = Condition()
        self._reported = 0
        self._counters = Counters()
        with signals_held(END_SIGNALS):
            Thread(target=self._run, name="log-writer", daemon=True).start()

    def count_in(self, counters: Counters) -> None:
        """Count in `log_lines_dropped` the lines dropped so far, and those from now on."""
        with self._changed:
            self._counters = counters
            counters.add(COUNTER, self.dropped)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the line of a record, or drop it if too many wait."""
        try:
            line = self._line(record)
        except Exception:
            self.handleError(record)
            return
        with self._changed:
            if self._unwritten + len(line) > MAX_UNWRITTEN:
                self._drop(1)
                return
            self._lines.append(line)
            self._unwritten += len(line)
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until all lines are written, at most FLUSH_TIMEOUT without room for them."""
        ends = time.monotonic() + FLUSH_LIMIT
        with self._changed:
            while not self._changed.wait_for(lambda: not self._unwritten, FLUSH_TIMEOUT):
                if not self._has_room(0) or time.monotonic() > ends:
                    return

    def _line(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode("utf-8", "backslashreplace")

    def _drop(self, lines: int) -> None:
        self.dropped += lines
        self._counters.add(COUNTER, lines)

    def _has_room(self, milliseconds: int) -> bool:
        """True once the descriptor takes bytes, false if it does not within this time."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(milliseconds))

    def _run(self) -> None:
        """Write what is queued, for ever."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                lines = tuple(self._lines)
                self._lines.clear()
            written = self._write(b"".join(lines))
            with self._changed:
                self._unwritten -= sum(map(len, lines))
                if written:
                    self._report()
                else:
                    self._drop(len(lines))
                self._changed.notify_all()

    def _report(self) -> None:
        """Queue a line about the lines that were dropped since the last such line."""
        count = self.dropped - self._reported
        if not count:
            return
        self._reported = self.dropped
        record = log.makeRecord(log.name, logging.WARNING, __file__, 0, DROPPED, (count,), None)
        line = self._line(record)
        self._lines.append(line)
        self._unwritten += len(line)

    def _write(self, data: bytes) -> bool:
        """Write all of the data, however long that takes; false if it fails."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                self._has_room(POLL_INTERVAL)
            except OSError:
                return False
        return True
