"""The independent reader of archives, for tests. It shares no code with the writer."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.patience import PATIENCE
from wakumail.archive.independent import READER_PROGRAM, snapshot, verify_independently

MANY = """
import runpy, sys
main = runpy.run_path(sys.argv[1])["main"]
for directory in sys.argv[2:]:
    print("null")
    main(directory, "100")
"""


def problems_of(directories: Sequence[Path]) -> list[list[str]]:
    """The problems of many small archives, read in one process: to start one takes longer."""
    command = [sys.executable, "-I", "-c", MANY, str(READER_PROGRAM), *map(str, directories)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    problems: list[list[str]] = []
    for line in map(json.loads, done.stdout.splitlines()):
        if line is None:
            problems.append([])
        elif "problem" in line:
            problems[-1].append(line["problem"])
    return problems


def arrival_hashes(directory: Path) -> list[bytes]:
    """The hashes of all envelopes in an archive, in order of arrival. A server may run."""
    command = [sys.executable, "-I", str(READER_PROGRAM), str(directory), "hashes"]
    with snapshot(directory):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    assert done.returncode == 0, done.stderr
    return [bytes.fromhex(line) for line in done.stdout.split()]


def check_sound(directory: Path) -> int:
    """Check that an archive is sound. Returns the number of its envelopes."""
    opinion = verify_independently(directory)
    assert opinion.problems == []
    assert opinion.count == 0
    return opinion.envelopes
