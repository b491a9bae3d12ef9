"""The build says in one line what it lacks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        ("/nowhere/gcc", "/nowhere/gcc: No such file or directory"),
        ("gcc -nostdinc", ".h: No such file or directory"),
    ],
    ids=["compiler", "headers"],
)
def test_a_build_without_its_tools(compiler: str, reason: str) -> None:
    built = subprocess.run(
        [sys.executable, "setup.py", "build_ext"],
        cwd=ROOT,
        env=os.environ | {"CC": compiler},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 1
    (line,) = built.stderr.splitlines()
    assert reason in line
    assert line.endswith("apt install gcc libc6-dev python3-dev")
