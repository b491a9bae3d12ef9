"""A docstring names its thing: it does not begin like a question."""

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
QUESTION = re.compile(r'^\s*"""(How|That|What|When|Where|Whether|Who) ', re.MULTILINE)


@pytest.mark.parametrize("folder", ["bench", "examples", "ext", "src", "tests"])
def test_no_docstring_begins_like_a_question(folder: str) -> None:
    sources = [
        p for kind in ("py", "pyi", "pyx", "pxd") for p in (PROJECT / folder).rglob(f"*.{kind}")
    ]
    assert sources
    found = {str(p): QUESTION.findall(p.read_text()) for p in sources}
    assert not {name: words for name, words in found.items() if words}


def test_one_envelope_is_not_told_as_envelopes() -> None:
    """`counted` of base/text.py gives a number its noun."""
    package = PROJECT / "src" / "wakumail"
    found = {
        str(path): re.findall(r"(?:\{[^{}]*\}|%d) envelopes\b", path.read_text())
        for path in package.rglob("*.py")
        if package / "load" not in path.parents
    }
    assert not {name: texts for name, texts in found.items() if texts}
