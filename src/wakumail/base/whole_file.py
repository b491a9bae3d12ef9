"""Files that are written as a whole, so that a crash leaves the old one or the new one.

The content goes to `.NAME.unfinished` beside the file. Who writes that holds its lock. One without
a lock was left by a process that was killed: the next writer of the file removes it, or a sweep.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wakumail.base.naming import naming

SUFFIX = ".unfinished"
"""Of the name of a file that is being written."""


def replace_file(path: Path, content: bytes) -> None:
    """Write a file, mode 0600, in place of the one at `path` if there is one.

    OSError, which names the file.
    """
    with _written(path, content) as made:
        made.replace(path)


def create_file(path: Path, content: bytes) -> None:
    """Write a new file, mode 0600; its name is durable on return.

    FileExistsError if there is one already, which is left as it is. OSError. Both name the file.
    """
    with _written(path, content) as made:
        path.hardlink_to(made)
        sync_names(path.parent)


def sweep_unfinished(path: Path) -> None:
    """Remove what a process left that was killed while it wrote the file at `path`."""
    with suppress(OSError):  # a living process writes it, or the folder cannot be changed
        _remove_left(_unfinished(path), fcntl.LOCK_NB)


def sweep_folder(directory: Path) -> None:
    """Remove what killed processes left unfinished in a folder that is ours alone."""
    for left in directory.glob(f".*{SUFFIX}"):
        with suppress(OSError):
            _remove_left(left, fcntl.LOCK_NB)


@contextmanager
def _written(path: Path, content: bytes) -> Iterator[Path]:
    """A synced file with this content beside `path`; removed unless it is renamed."""
    made = _unfinished(path)
    descriptor = _begin(path, made)
    try:
        with naming(path):
            with open(descriptor, "wb", closefd=False) as file:
                file.write(content)
            os.fsync(descriptor)
            yield made
    finally:
        with suppress(OSError):
            if _has_name(descriptor, made):  # else it was renamed, or is that of the next writer
                made.unlink()
        os.close(descriptor)


def _begin(path: Path, made: Path) -> int:
    """Make the unfinished file and lock it; its descriptor. Waits for a living writer of it."""
    while True:
        try:
            with naming(path):
                descriptor = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            _remove_left(made, 0)
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _has_name(descriptor, made):
            return descriptor
        os.close(descriptor)  # another process took it for left before it was locked


def _remove_left(left: Path, flags: int) -> None:
    """Remove an unfinished file once nobody holds it; LOCK_NB: BlockingIOError if somebody does."""
    try:
        descriptor = os.open(left, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    except PermissionError:  # root left it; a command of root that works here holds the directory
        left.unlink(missing_ok=True)
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | flags)
        if _has_name(descriptor, left):
            left.unlink()
    finally:
        os.close(descriptor)


def _has_name(descriptor: int, path: Path) -> bool:
    """True if an open file is the one at `path` now."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}{SUFFIX}")


def sync_names(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
