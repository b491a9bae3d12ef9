"""Files that options name; `-` is standard input or output."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from wakumail.base.naming import naming

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer


class NamedFile(io.FileIO):
    """A file that is written; an error, which may come when it is flushed or closed, names it."""

    def __init__(self, path: str, mode: str) -> None:
        super().__init__(path, mode)
        self._path = path

    def write(self, data: "Buffer") -> int:
        """Write some bytes; returns their number."""
        with naming(self._path):
            return super().write(data)


@contextlib.contextmanager
def open_binary(name: str, mode: str) -> Iterator[BinaryIO]:
    """The file of that name; `-` is standard input or output."""
    if name == "-":
        with contextlib.suppress(OSError, ValueError):
            # A read of a pipe that does not block would end with what has come so far.
            os.set_blocking((sys.stdin if mode == "rb" else sys.stdout).fileno(), True)
        yield sys.stdin.buffer if mode == "rb" else sys.stdout.buffer
        sys.stdout.flush()
    elif mode == "rb":
        with Path(name).open(mode) as file:
            yield file  # type: ignore[misc]  # opened in binary
    else:
        with io.BufferedWriter(NamedFile(name, mode)) as file:
            yield file


def read_whole(name: str, most: int) -> bytes:
    """The content of the file of that name; ValueError if it has more than `most` bytes."""
    with open_binary(name, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{name}: it has more than {most} bytes")
    return content


def open_new(name: str, *, force: bool) -> AbstractContextManager[BinaryIO]:
    """A file to write; FileExistsError if it has content to lose, unless `force`.

    Its content stays until `start_over`.
    """
    if not force and name != "-" and os.path.isfile(name) and os.path.getsize(name):
        raise FileExistsError(f"{name} already exists; --force overwrites it")
    return open_binary(name, "ab")


def start_over(name: str, file: BinaryIO) -> None:
    """Empty a file of open_new, unless it is a pipe, a device or standard output."""
    if name != "-" and os.path.isfile(name):
        file.truncate(0)
