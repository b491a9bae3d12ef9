"""The commands in the blocks of the documentation, as a reader types them in."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.connections import BOB_ID
from tests.support.dns_lists import record, url
from wakumail.cli.command_line import COMMANDS, parser

ROOT = Path(__file__).parents[2]
ENODE = f"enode://{BOB_ID.hex()}@192.0.2.7:30303"
STANDING = (
    (r"enode://[^\s,]+", ENODE),
    (r"\$?\bENODE\b", ENODE),
    (r"enr:…", str(record(1))),
    (r"enrtree://KEY@\S+", str(url("nodes.example.org"))),
    (r"\$L\b", "nats://192.0.2.1:4222"),
)
"""Words of the documentation that stand for something, each with a value."""


def blocks(page: str) -> Iterator[str]:
    """The lines of the blocks of code of a page; one that goes on is one line."""
    text = page.replace("\\\n", " ")
    fenced = r"^ *```\w*\n(.*?)^ *```$"
    for block in re.findall(fenced, text, re.MULTILINE | re.DOTALL):
        yield from block.splitlines()
    yield from re.findall(r"^    (.+)$", re.sub(fenced, "", text, flags=re.M | re.S), re.MULTILINE)


TYPED = [
    (page.name, words)
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"))
    for line in blocks(page.read_text())
    for words in re.findall(rf"(?:^|[ /])wakumail ((?:{'|'.join(COMMANDS)}) .*)", line)
]
"""A page, and the words behind `wakumail`."""


@pytest.mark.parametrize(("page", "words"), TYPED)
def test_a_command_can_be_typed_in(
    page: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list.key").write_text("01" * 32)
    for standing, value in STANDING:
        words = re.sub(standing, value, words)
    typed = re.split(r" [|>] ", words)[0]
    assert parser().parse_args(shlex.split(typed, comments=True)).run


def test_they_are_found() -> None:
    assert {page for page, _ in TYPED} >= {"README.md", "cluster.md", "sync.md", "reading.md"}
