"""Memory that is freed and needed again is not mapped anew each time."""

import ctypes
import subprocess
import sys

import pytest

ROUNDS = 20
PAGE = 600_000  # bytes
SCRIPT = f"""
import resource, threading
from wakumail.cli.heap import keep_freed

keep_freed()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def work():
    pages = [b"x" * {PAGE} for _ in range(4)]
    del pages
    before = faults()
    for _ in range({ROUNDS}):
        pages = [b"x" * {PAGE} for _ in range(4)]
        del pages
    print(faults() - before)

for run in (work, threading.Thread(target=work).start):
    run()
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_freed_pages_stay() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True)
    mapped_anew = ROUNDS * 4 * PAGE // 4096
    assert all(int(faults) < mapped_anew / 4 for faults in done.stdout.split())
