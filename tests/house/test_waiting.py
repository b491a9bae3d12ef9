"""Tests wait for conditions: none sleeps, and none has a time limit of its own."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
HELPER = TESTS / "support" / "patience.py"
"""The only file that sleeps, between two looks at a condition."""

LIMITED = {"timeout", "wait_for", "wait", "join"}
"""Calls whose last argument is a time limit, without a name."""


def is_number(node: ast.expr) -> bool:
    """True for a number that is written out, except 0: that is a turn of the loop."""
    return isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value != 0


def faults(source: str) -> Iterator[str]:
    """The sleeps and the time limits in a file of tests, with their lines."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(name) | ast.Attribute(attr=name)):
                limits = [k.value for k in node.keywords if k.arg == "timeout"]
                limits += node.args[-1:] if name in LIMITED else []
                if name == "sleep" and not (
                    isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
                ):
                    yield f"{node.lineno}: sleeps"
                elif any(map(is_number, limits)):
                    yield f"{node.lineno}: has a time limit that is not PATIENCE"
            case ast.Constant(value=str(text)) if "sleep(" in text.replace("sleep(0)", ""):
                yield f"{node.lineno}: a script that sleeps"


@pytest.mark.parametrize(
    "source",
    [
        "await asyncio.sleep(0.1)",
        "time.sleep(delay)",
        "asyncio.wait_for(task, 5)",
        "asyncio.timeout(0.5)",
        "subprocess.run(command, timeout=10)",
        "process.wait(10.0)",
        "SCRIPT = 'import time; time.sleep(60)'",
    ],
)
def test_a_clock_in_a_test_is_found(source: str) -> None:
    (found,) = faults(source)
    assert found.startswith("1: ")


def test_no_test_has_a_clock() -> None:
    files = [path for path in TESTS.rglob("*.py") if path not in (HELPER, Path(__file__))]
    assert len(files) > 100
    found = [f"{path.relative_to(TESTS)}:{it}" for path in files for it in faults(path.read_text())]
    assert not found
