"""The standard streams of a command: some may be closed at the start, or lose their reader.

A command whose results could not be written ends with exit code 1. Lines on stderr that cannot be
written are dropped: they change no exit code.
"""

import io
import os
import select
import sys
from typing import TYPE_CHECKING

from wakumail.errors import reason

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

STDIN, STDOUT, STDERR = 0, 1, 2


class LossyFile(io.FileIO):
    """A file without errors of writing: data that cannot be written is dropped."""

    def write(self, data: "Buffer") -> int:
        """Write some bytes; returns the number of those written or dropped."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def secure() -> None:
    """Let no file or socket take the descriptor of a stream, and no error of stderr end a command.

    Each descriptor that is closed opens /dev/null, the wrong way round: reading stdin and writing
    stdout fail as before.
    """
    for descriptor, mode in ((STDIN, os.O_WRONLY), (STDOUT, os.O_RDONLY), (STDERR, os.O_RDONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, mode)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)
    if sys.stdin is None:
        sys.stdin = open(STDIN, closefd=False)  # noqa: SIM115 - as long as the process
    if sys.stdout is None:
        sys.stdout = open(STDOUT, "w", closefd=False)  # noqa: SIM115 - as long as the process
    encoding = None if sys.stderr is None else sys.stderr.encoding
    lossy = io.BufferedWriter(LossyFile(STDERR, "wb", closefd=False))
    sys.stderr = io.TextIOWrapper(lossy, encoding, "backslashreplace", line_buffering=True)


def lost_reader() -> bool:
    """True if stdout is a pipe or socket whose reader has left."""
    poll = select.poll()
    poll.register(STDOUT, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def finish(code: int) -> int:
    """Write the rest of stdout; returns the exit code: at least 1 if that fails.

    The error is told, unless the reader has left: `wakumail ... | head` is no mistake.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        code = code or 1
        if not lost_reader():
            print(f"wakumail: standard output: {reason(error)}", file=sys.stderr)
        # Python flushes stdout once more at its end, which would fail again.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, STDOUT)
        os.close(null)
    return code
