"""A small tmpfs that is filled up: a hole of a file there cannot be read through a map (SIGBUS)."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from tests.support.mounts import mounted

SIZE = 16 << 20
"""Bytes of the file system."""

FILLING = "filling"
"""The file that takes all room."""


def fill(disk: Path) -> None:
    """Take all that is free."""
    with (disk / FILLING).open("ab", buffering=0) as file:
        for step in (1 << 20, 4096):
            try:
                while True:
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), step)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def free(disk: Path) -> None:
    """Give it back."""
    (disk / FILLING).unlink(missing_ok=True)


@contextlib.contextmanager
def small_tmpfs(directory: Path) -> Iterator[Path]:
    """Mount one in a directory, or skip the test where this is not permitted."""
    disk = directory / "tmpfs"
    with mounted("tmpfs", "tmpfs", f"size={SIZE}", disk):
        yield disk
