"""Logs: lines on stderr, for people or as JSON. The line on stdout of a server that is ready."""

import json
import logging
import os
import sys
from datetime import UTC, datetime
from threading import Thread
from typing import TYPE_CHECKING

from wakumail.base.colours import Colour, has_colours

if TYPE_CHECKING:
    from wakumail.ops.log_writer import LogWriter

log = logging.getLogger(__name__)

STDOUT, STDERR = 1, 2

LEVEL_COLOURS = {logging.WARNING: Colour.YELLOW, logging.ERROR: Colour.RED}
"""The looks of levels that are worth a look, on a terminal."""

LINE_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


class TextFormatter(logging.Formatter):
    """A line for a person: UTC in the form of ISO 8601, level, message."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - as in logging
        """The time of a record, to the millisecond."""
        return iso_time(record)


class TerminalFormatter(TextFormatter):
    """The same with the level in a colour."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - as in logging
        """The line of a record without its exception."""
        line = super().formatMessage(record)
        if colour := LEVEL_COLOURS.get(record.levelno):
            line = line.replace(record.levelname, colour(record.levelname), 1)
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message; worker and exception if any."""

    def __init__(self, worker: int | None) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record."""
        entry: dict[str, str | int] = {
            "time": iso_time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._worker is not None:
            entry["worker"] = self._worker
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def start(verbosity: str, *, log_json: bool) -> None:
    """Log to stderr from now on, and nowhere else."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(log_json=log_json, worker=None))
    logging.basicConfig(level=verbosity.upper(), handlers=[handler], force=True)


def start_in_thread(verbosity: str, *, log_json: bool, worker: int | None = None) -> "LogWriter":
    """Log to stderr as a server does: without waiting for its reader, see LogWriter.

    worker: the number of this process if there are several. A second call changes the first one's
    writer.
    """
    from wakumail.ops.log_writer import LogWriter  # a server alone takes the time to load it

    root = logging.getLogger()
    writer = next((each for each in root.handlers if isinstance(each, LogWriter)), None)
    if writer is None:
        writer = LogWriter(STDERR)
        logging.basicConfig(handlers=[writer], force=True)
    writer.setFormatter(formatter(log_json=log_json, worker=worker))
    root.setLevel(verbosity.upper())
    return writer


def flush() -> None:
    """Wait until the log is written: what is printed on stderr next stands behind it."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def formatter(*, log_json: bool, worker: int | None) -> logging.Formatter:
    """The form of a line."""
    if log_json:
        return JsonFormatter(worker)
    line = LINE_FORMAT
    if worker is not None:
        line = line.replace("%(message)s", f"worker {worker}: %(message)s")
    return TerminalFormatter(line) if has_colours(sys.stderr) else TextFormatter(line)


def iso_time(record: logging.LogRecord) -> str:
    """The time of a record in UTC, to the millisecond."""
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def announce(enode: str) -> None:
    """Print the enode on stdout, in a thread: a reader that does not read holds up nothing."""
    Thread(target=_write_enode, args=(enode,), name="announcement", daemon=True).start()


def _write_enode(enode: str) -> None:
    try:
        os.write(STDOUT, f"{enode}\n".encode())
    except OSError as error:
        log.warning("the enode cannot be written to standard output: %s", error.strerror)
