"""The heap: freed memory is kept, and full collections are rare."""

import ctypes
import subprocess
import sys

import pytest

ROUNDS = 20
PAGE = 600_000  # bytes
SCRIPT = f"""
import resource, threading
from wakumail.ops.heap import keep_freed

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


COLLECTIONS = """
import gc
from wakumail.ops.heap import FULL_COLLECTION, collect_rarely

before = len(gc.get_objects())
collect_rarely()
assert gc.get_freeze_count() > before / 2
full = []
gc.callbacks.append(lambda phase, info: full.append(info["generation"] == 2))
kept = []
for _ in range(FULL_COLLECTION // 2):
    kept += [[] for _ in range(7000)]
assert full and not any(full)
cycle = []
cycle.append(cycle)
del cycle
assert gc.collect() >= 1
"""


def test_full_collections_are_rare() -> None:
    """Full collections still happen: cycles are found."""
    subprocess.run([sys.executable, "-c", COLLECTIONS], check=True)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_freed_pages_stay() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True)
    mapped_anew = ROUNDS * 4 * PAGE // 4096
    assert all(int(faults) < mapped_anew / 4 for faults in done.stdout.split())
