"""Disks that fail, and clocks that jump, when a test says so: calls of a real server's processes.

with faults(build(tmp_path), tmp_path) as disk:     # builds and preloads faults.c
    with Server(..., environment=disk.environment) as server:
        disk.fail("fdatasync", errno.EIO)           # from now on, until told otherwise
        disk.fail("meta", errno.EIO, times=1)       # the next write of LMDB's meta page
        disk.fail("pages", errno.ENOSPC, after=2)   # the third from now on
        disk.shorten("pages")                       # writes come out short
        disk.mend()
        disk.jump(3600)                             # the clock is an hour ahead from now on

The calls that fail are those on its data file.
"""

import contextlib
import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("faults.c")

CALLS = ("fdatasync", "pages", "meta", "fallocate", "map")
"""The calls, in the order of faults.c.

pages: pwrite, writev and pwritev, of which LMDB takes the one that fits; meta: the pwrite of the
page that makes a commit valid; fallocate: posix_fallocate too; map: mmap.
"""

RULE = struct.Struct("<iiqqqq")
AHEAD = struct.Struct("<q")
FOREVER = -1


class FaultyDisk:
    """Chooses the calls that fail; all processes with its environment see a change at once."""

    def __init__(self, library: Path, control: Path) -> None:
        control.write_bytes(bytes(RULE.size * len(CALLS) + AHEAD.size))
        with control.open("r+b") as file:
            self._rules = mmap.mmap(file.fileno(), 0)
        self.environment: Mapping[str, str] = {
            **os.environ,
            "LD_PRELOAD": str(library),
            "FAULTS": str(control),
            "FAULTS_FILE": "/data.mdb",
        }

    def fail(self, call: str, error: int, *, after: int = 0, times: int = FOREVER) -> None:
        """Let `after` calls pass and then fail `times` with that errno."""
        self._set(call, error, 0, after, times)

    def shorten(self, call: str, *, after: int = 0, times: int = FOREVER) -> None:
        """Let writes leave something out, and say so."""
        self._set(call, 0, 100, after, times)

    def mend(self) -> None:
        """Let nothing fail from now on."""
        for call in CALLS:
            self._set(call, 0, 0, 0, 0)

    def jump(self, ahead: int) -> None:
        """Let the clock be this many seconds ahead of the right time."""
        AHEAD.pack_into(self._rules, RULE.size * len(CALLS), ahead)

    def failed(self, call: str) -> int:
        """The number of calls that have failed since the rule was set."""
        return int(RULE.unpack_from(self._rules, CALLS.index(call) * RULE.size)[5])

    def seen(self, call: str) -> int:
        """The number of calls since the rule was set."""
        return int(RULE.unpack_from(self._rules, CALLS.index(call) * RULE.size)[4])

    def close(self) -> None:
        """Let go of the control file."""
        self._rules.close()

    def _set(self, call: str, error: int, shorten: int, after: int, times: int) -> None:
        place = CALLS.index(call) * RULE.size
        RULE.pack_into(self._rules, place, 0, 0, after, times, 0, 0)
        RULE.pack_into(self._rules, place, error, shorten, after, times, 0, 0)


def build(directory: Path) -> Path:
    """Build the library in a directory. The test is skipped without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    library = directory / "faults.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library


@contextlib.contextmanager
def faults(library: Path, directory: Path) -> Iterator[FaultyDisk]:
    """A disk with a control file in a directory."""
    disk = FaultyDisk(library, directory / "faults")
    try:
        yield disk
    finally:
        disk.close()
