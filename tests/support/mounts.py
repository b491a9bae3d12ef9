"""File systems mounted for a test."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def mounted(kind: str, device: Path | str, options: str, path: Path) -> Iterator[None]:
    """Mount a device in a new directory, or skip the test where this is not permitted.

    Other processes may still have files open there at the end.
    """
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", kind, "-o", options, device, path],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"mounting a {kind} is not permitted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
