"""The stubs of constructors: the signatures that stubtest (make types) cannot see.

Python knows no parameters of the constructor of a compiled class, so they are read in the .pyx.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUBS = sorted((ROOT / "src" / "wakumail").rglob("*.pyi"))


def stubbed(path: Path) -> dict[str, list[str]]:
    """The parameters of each constructor, `name` or `name=`, with `*` before the keywords."""
    found = {}
    for made in ast.parse(path.read_text()).body:
        for method in made.body if isinstance(made, ast.ClassDef) else ():
            if isinstance(method, ast.FunctionDef) and method.name in ("__new__", "__init__"):
                assert isinstance(made, ast.ClassDef)
                found[made.name] = parameters(ast.unparse(method.args))
    return found


def compiled(path: Path) -> dict[str, list[str]]:
    """The same of a .pyx; of __cinit__ and __init__, the one that names its parameters."""
    found = {}
    source = path.read_text()
    for name in re.findall(r"^cdef class (\w+)", source, re.MULTILINE):
        body = re.split(rf"^cdef class {name}\b", source, flags=re.MULTILINE)[1]
        body = re.split(r"^\S", body.partition("\n")[2], flags=re.MULTILINE)[0]
        for signature in re.findall(r"    def __c?init__\(((?:[^()]|\n)*)\):", body):
            if "*args" not in signature:
                found[name] = parameters(signature)
    return found


def parameters(signature: str) -> list[str]:
    """Without types, annotations, the values of defaults, and self."""
    told = []
    for parameter in signature.split(",")[1:]:
        name, default, _ = re.sub(r":[^=]*|\bnot None\b", "", parameter).partition("=")
        told.append(name.split()[-1] + default)
    return told


@pytest.mark.parametrize("stub", STUBS, ids=lambda path: path.stem)
def test_constructors_are_as_their_stubs_say(stub: Path) -> None:
    kernel = ROOT / "ext" / stub.relative_to(ROOT / "src").with_suffix(".pyx")
    made = {name: signature for name, signature in compiled(kernel).items() if signature}
    assert {name: stubbed(stub).get(name) for name in made} == made
    assert stubbed(stub).keys() <= made.keys()
