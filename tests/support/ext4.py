"""A small ext4 on a loop device: a write to it comes out short when the disk is nearly full.

with ext4(tmp_path) as disk:                        # skips the test where this is not permitted
    fill(disk)                                      # see full_tmpfs.py
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounts import mounted

SIZE = 24 << 20
"""Bytes of the device. The file is sparse."""


@contextlib.contextmanager
def ext4(directory: Path) -> Iterator[Path]:
    """Make and mount one in a directory. CI has the tools, but may not be allowed to mount."""
    if os.geteuid():
        pytest.skip("mounting an ext4 needs root")
    if shutil.which("mkfs.ext4") is None:
        assert "CI" not in os.environ, "e2fsprogs is required in CI"
        pytest.skip("needs mkfs.ext4")
    image, path = directory / "ext4.image", directory / "ext4"
    with image.open("wb") as file:
        file.truncate(SIZE)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True, capture_output=True)
    with mounted("ext4", image, "loop", path):
        yield path
