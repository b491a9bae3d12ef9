"""The log of a server: no line holds up the loop, and lines that are dropped are counted."""

import fcntl
import json
import logging
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE, until
from tests.support.processes import WAKUMAIL, run, takes_calls
from wakumail.base.main_task import END_SIGNALS
from wakumail.counters import Counters
from wakumail.ops import log_writer
from wakumail.ops.log_writer import COUNTER, MAX_UNWRITTEN, LogWriter
from wakumail.ops.monitoring.report import Sample, counted, together

LINE = "x" * 999
PIPE_SIZE = 4096


class Pipe:
    """A pipe of PIPE_SIZE bytes."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, PIPE_SIZE)

    def lines(self, until: str) -> list[str]:
        """The lines up to one that contains a text."""
        text = b""
        while until.encode() not in text or not text.endswith(b"\n"):
            text += os.read(self.reading, 1 << 16)
        return text.decode().splitlines()

    def fill(self) -> None:
        """Leave no room in the pipe."""
        os.set_blocking(self.writing, False)
        try:
            while True:
                os.write(self.writing, b"\n" * 512)
        except BlockingIOError:
            os.set_blocking(self.writing, True)

    def close(self) -> None:
        os.close(self.reading)
        os.close(self.writing)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def record(text: str) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": text, "levelname": "INFO"})


def test_lines_are_written_in_order(pipe: Pipe) -> None:
    writer = LogWriter(pipe.writing)
    for number in range(100):
        writer.handle(record(f"line {number}"))
    assert pipe.lines("line 99") == [f"line {number}" for number in range(100)]
    writer.flush()
    assert writer.dropped == 0


@pytest.mark.parametrize("blocking", [True, False])
def test_a_pipe_that_nobody_reads_drops_lines_and_counts_them(pipe: Pipe, blocking: bool) -> None:
    os.set_blocking(pipe.writing, blocking)
    writer, counters = LogWriter(pipe.writing), Counters()
    given = 2 * MAX_UNWRITTEN // len(LINE)
    for number in range(given):
        writer.handle(record(LINE))
        if number == given - 2:
            writer.count_in(counters)
    assert counters[COUNTER] == writer.dropped > given // 3
    lines = pipe.lines("were dropped")
    told = re.fullmatch(r"(\d+) log lines were dropped: they could not be written", lines[-1])
    assert told
    assert int(told[1]) == writer.dropped
    assert lines.count(LINE) + writer.dropped == given
    writer.handle(record("later"))
    assert pipe.lines("later") == ["later"]


def test_lines_that_fail_are_counted(pipe: Pipe) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    writer, counters = LogWriter(full), Counters()
    writer.count_in(counters)
    writer.handle(record("lost"))
    writer.flush()
    assert counters == {COUNTER: 1}
    os.dup2(pipe.writing, full)
    writer.handle(record("found"))
    assert pipe.lines("dropped")[0] == "found"
    os.close(full)


def test_signals_come_to_the_main_thread(pipe: Pipe) -> None:
    """No other may take them, as the main thread lets them wait for a while."""
    before = {*threading.enumerate()}
    LogWriter(pipe.writing)
    (writer,) = {*threading.enumerate()} - before
    status = Path(f"/proc/self/task/{writer.native_id}/status").read_text()
    blocked = int(re.findall("SigBlk:\t([0-9a-f]+)", status)[0], 16)
    assert all(blocked >> (number - 1) & 1 for number in END_SIGNALS)
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & {*END_SIGNALS}


def test_a_flush_has_a_bound(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "FLUSH_TIMEOUT", 0.01)
    writer = LogWriter(pipe.writing)
    writer.handle(record(LINE * 10))
    writer.flush()
    assert writer.dropped == 0
    assert len("".join(pipe.lines("\n"))) == len(LINE * 10)


def test_a_thread_that_gets_no_time_is_waited_for(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last line is the reason for which a server ends."""
    monkeypatch.setattr(log_writer, "FLUSH_TIMEOUT", 0.001)
    writer, has_time, looks = LogWriter(pipe.writing), threading.Event(), threading.Semaphore(0)
    write, has_room = writer._write, writer._has_room

    def look(milliseconds: int) -> bool:
        looks.release()
        return has_room(milliseconds)

    monkeypatch.setattr(writer, "_has_room", look)
    monkeypatch.setattr(writer, "_write", lambda data: has_time.wait(PATIENCE) and write(data))
    writer.handle(record("the reason"))
    flushing = threading.Thread(target=writer.flush)
    flushing.start()
    assert looks.acquire(timeout=PATIENCE)
    assert looks.acquire(timeout=PATIENCE)
    has_time.set()
    flushing.join(PATIENCE)
    assert not flushing.is_alive()
    assert pipe.lines("the reason") == ["the reason"]


def test_the_supervisor_s_lines_are_in_the_metrics_of_all() -> None:
    family = together((counted(Counters({COUNTER: 2})), counted(Counters({COUNTER: 3})))).families
    assert [(each.name, each.samples) for each in family] == [
        (f"wakumail_{COUNTER}", [Sample(f"wakumail_{COUNTER}_total", (), 5)])
    ]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_serves_though_nobody_reads_its_log(
    tmp_path: Path, pipe: Pipe, workers: str
) -> None:
    """The same pipe is its stdout, which is full from the start."""
    pipe.fill()
    datadir = tmp_path / "data"
    command = [*WAKUMAIL, "serve", "--datadir", str(datadir), "--host", "127.0.0.1"]
    command += ["--port", "0", "--workers", workers, "--verbosity", "debug"]
    with subprocess.Popen(command, stdout=pipe.writing, stderr=pipe.writing) as process:
        try:
            until(lambda: takes_calls(datadir) or process.poll() is not None)
            assert json.loads(run("attach", "--datadir", datadir, "rpc_modules"))
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def test_what_waits_is_written_at_the_end(tmp_path: Path, pipe: Pipe) -> None:
    command = [*WAKUMAIL, "serve", "--datadir", str(tmp_path / "data"), "--host", "127.0.0.1"]
    with subprocess.Popen(
        [*command, "--port", "0"], stdout=subprocess.PIPE, stderr=pipe.writing
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"enode://")
            process.send_signal(signal.SIGTERM)
            assert pipe.lines("stopping")
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
