"""make fuzz: build with the address and the undefined-behaviour sanitizer, and fuzz all targets.

    python -m tests.fuzz build                  into build/fuzz, which leaves the other build alone
    python -m tests.fuzz run SECONDS [SEED]     all targets in turn, from that seed on
    python -m tests.fuzz repeat TARGET SEED     one try, as a crash has said

The tries of a target are numbered; the number of the one at work stands in a file, so that the
parent can say which one ended the process.
"""

import mmap
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "fuzz"
LIBRARY = BUILD / "lib"
PARSER_TARGETS = (
    *("rlp", "envelopes", "snappy", "frames", "sync", "negentropy", "discovery"),
    *("interests", "pool", "cursors"),
)
FILE_TARGETS = ("bits", "pages", "swaps", "truncations", "numbers")
"""Kinds of damage to archive files (tests/support/damaged_files.py)."""
BATCH = 4000
"""Tries of one process."""
FILES = 2
"""Damaged archive files of one process: each meets all commands and 200 requests."""
MAX_BATCH_SECONDS = 600.0


def build() -> None:
    """Compile into build/fuzz; the Python files come from src."""
    environment = os.environ | {"SANITIZE": "1"}
    command = [sys.executable, "setup.py", "--quiet", "build_ext"]
    command += ["--build-lib", str(LIBRARY), "--build-temp", str(BUILD / "temp")]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    for source in (ROOT / "src" / "wakumail").rglob("*.py"):
        target = LIBRARY / source.relative_to(ROOT / "src")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def sanitized() -> dict[str, str]:
    """The environment of a Python that takes the sanitized build."""
    find = ["cc", "-print-file-name=libasan.so"]
    asan = subprocess.run(find, capture_output=True, text=True, check=True).stdout.strip()
    return os.environ | {
        "LD_PRELOAD": asan,
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": f"{LIBRARY}:{ROOT}",
    }


def tries(target: str, first: int, count: int, progress: Path) -> None:
    """In the child: the tries from `first` on."""
    import wakumail
    from tests.fuzz.targets import run

    assert Path(wakumail.__file__).is_relative_to(LIBRARY), wakumail.__file__
    with progress.open("r+b") as file, mmap.mmap(file.fileno(), 8) as at:
        for seed in range(first, first + count):
            at[:] = seed.to_bytes(8, "big")
            run(target, seed)


def try_batch(target: str, first: int, count: int) -> bool:
    """Run a batch in a process of its own; on a crash say how to repeat it."""
    progress = BUILD / f"{target}.at"
    progress.write_bytes(first.to_bytes(8, "big"))
    if target in FILE_TARGETS:
        directory = BUILD / "files"
        shutil.rmtree(directory, ignore_errors=True)
        command = ["-m", "tests.support.damaged_files", str(directory), target]
        command += [str(first), str(first + count)]
    else:
        command = ["-m", "tests.fuzz", "tries", target, str(first), str(count), str(progress)]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=sanitized(),
        capture_output=True,
        timeout=MAX_BATCH_SECONDS,
        check=False,
    )
    if done.returncode == 0 and b"runtime error" not in done.stderr:
        return True
    seed = int.from_bytes(progress.read_bytes(), "big")
    sys.stdout.write((done.stdout + done.stderr).decode(errors="replace")[-8000:])
    print(f"\n{target} failed; to repeat it: .venv/bin/python -m tests.fuzz repeat {target} {seed}")
    return False


def fuzz(seconds: float, seed: int) -> int:
    """All targets in turn until the time is over; the number of failures."""
    targets = [*PARSER_TARGETS, *FILE_TARGETS]
    end = time.monotonic() + seconds
    batch = 0
    tried = dict.fromkeys(targets, 0)
    while time.monotonic() < end:
        for target in targets:
            if time.monotonic() >= end:
                break
            size = FILES if target in FILE_TARGETS else BATCH
            if not try_batch(target, seed + batch * size, size):
                return 1
            tried[target] += size
        batch += 1
    print("no crash: " + ", ".join(f"{count} {target}" for target, count in tried.items()))
    return 0


def main(action: str, *arguments: str) -> int:
    """Do one of the actions above."""
    if action == "build":
        build()
    elif action == "run":
        return fuzz(float(arguments[0]), int(arguments[1]) if arguments[1:] else 0)
    elif action == "tries":
        tries(arguments[0], int(arguments[1]), int(arguments[2]), Path(arguments[3]))
    elif action == "repeat":
        return 0 if try_batch(arguments[0], int(arguments[1]), 1) else 1
    else:
        sys.exit(__doc__)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:] or [""]))
