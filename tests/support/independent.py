"""The independent reader of archives, for tests. It shares no code with the writer.

One process reads for all tests of this one: the packages that it imports take longer than a small
archive.
"""

import atexit
import functools
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from wakumail.archive.independent import READER_PROGRAM, snapshot
from wakumail.archive.meta_pages import check_meta_pages
from wakumail.archive.results import MAX_PROBLEMS_TOLD

READER = """
import json, runpy, sys
main = runpy.run_path(sys.argv[1])["main"]
for line in sys.stdin:
    main(*json.loads(line))
    print("end", flush=True)
"""


@functools.cache
def reader() -> "subprocess.Popen[str]":
    """The process; it ends with this one."""
    command = [sys.executable, "-I", "-c", READER, str(READER_PROGRAM)]
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(started.communicate)
    return started


def read(directory: Path, mode: str) -> list[str]:
    """The lines that the program prints about an archive."""
    process = reader()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps([str(directory), mode]) + "\n")
    process.stdin.flush()
    lines = []
    while (line := process.stdout.readline()) != "end\n":
        if not line:
            reader.cache_clear()
            raise AssertionError(f"the independent reader ended with {process.wait()}")
        lines.append(line)
    return lines


def report(directory: Path) -> tuple[list[str], int, int]:
    """The problems that are told, the number of all, and the number of sound envelopes."""
    told = [json.loads(line) for line in read(directory, str(MAX_PROBLEMS_TOLD))]
    problems = [line["problem"] for line in told if "problem" in line]
    return problems, told[-1]["count"], told[-1]["envelopes"]


def problems_of(directories: Sequence[Path]) -> list[list[str]]:
    """The problems of archives that nobody writes to."""
    return [report(directory)[0] for directory in directories]


def arrival_hashes(directory: Path) -> list[bytes]:
    """The hashes of all envelopes in an archive, in order of arrival. A server may run."""
    with snapshot(directory):
        return [bytes.fromhex(line) for line in read(directory, "hashes") if line.strip()]


def check_sound(directory: Path) -> int:
    """Check that an archive is sound. Returns the number of its envelopes. A server may run."""
    assert check_meta_pages(directory) == []  # as verify_independently does
    with snapshot(directory):
        problems, count, envelopes = report(directory)
    assert problems == []
    assert count == 0
    return envelopes
