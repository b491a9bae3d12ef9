"""Pages of docs/ whose tables name the tests that hold a row."""

import ast
import re
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]
DOCS = TESTS.parent / "docs"


def holders(cell: str) -> tuple[tuple[str, str], ...]:
    """File and name of each test that a cell names; it may hold nothing else."""
    names = re.findall(r"`tests/([\w/]+/test_\w+\.py)::(test_\w+)`", cell)
    assert cell == " ".join(f"`tests/{file}::{name}`" for file, name in names), cell
    return tuple(names)


@cache
def names_in(file: str) -> frozenset[str]:
    """The tests in a file, functions and methods, but for those that are expected to fail."""
    return frozenset(
        node.name
        for node in ast.walk(ast.parse((TESTS / file).read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not any("xfail" in ast.unparse(mark) for mark in node.decorator_list)
    )
