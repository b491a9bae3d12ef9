"""What the independent reader of archives says: it shares no code with what wrote them."""

import subprocess
import sys
from pathlib import Path

from wakumail.archive.independent import PROGRAM, verify_independently


def arrival_hashes(directory: Path) -> list[bytes]:
    """The hashes of all envelopes of an archive, in the order of arrival; a server may run."""
    command = [sys.executable, "-I", str(PROGRAM), str(directory), "hashes"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [bytes.fromhex(line) for line in done.stdout.split()]


def check_sound(directory: Path) -> int:
    """Assert that an archive is sound; answers how many envelopes it has."""
    opinion = verify_independently(directory)
    assert opinion.problems == []
    assert opinion.count == 0
    return opinion.envelopes
