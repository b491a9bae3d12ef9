"""A small btrfs on a loop device: each write to it takes a new block, also one to an old place.

with btrfs(tmp_path) as disk:                       # skips the test where this is not permitted
    with Server(disk.path / "data") as server:
        disk.fill()
        disk.free()
"""

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounts import mounted

SIZE = 128 << 20
"""Bytes of the device: about the least that btrfs takes. The file is sparse."""


class Btrfs:
    """The file system, and the file that fills it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filling = path / "filling"

    def fill(self) -> None:
        """Allocate all blocks for data. Files that already exist stay as they are."""
        with self._filling.open("wb") as file:
            size = 0
            for step in (16 << 20, 1 << 20, 64 << 10, 4096):
                try:
                    while True:
                        os.posix_fallocate(file.fileno(), size, step)
                        size += step
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
        os.sync()

    def free(self) -> None:
        """Give all that back."""
        self._filling.unlink()
        os.sync()


@contextlib.contextmanager
def btrfs(directory: Path) -> Iterator[Btrfs]:
    """Make and mount one in a directory. CI has the tools, but may not be allowed to mount."""
    if os.geteuid():
        pytest.skip("mounting a btrfs needs root")
    if shutil.which("mkfs.btrfs") is None:
        assert "CI" not in os.environ, "btrfs-progs is required in CI"
        pytest.skip("needs mkfs.btrfs")
    image, path = directory / "btrfs.image", directory / "btrfs"
    with image.open("wb") as file:
        file.truncate(SIZE)
    subprocess.run(["mkfs.btrfs", "--quiet", image], check=True, capture_output=True)
    with mounted("btrfs", image, "loop", path):
        yield Btrfs(path)
