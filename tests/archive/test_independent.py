"""The second opinion: it agrees on sound archives, finds all damage and imports nothing of ours."""

import ast
import shutil
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.archive_damage import (
    Edit,
    break_overflow_page,
    damages,
    edit,
    make_intact,
    make_sorted,
    sorted_damages,
)
from tests.support.archive_model import DAY, START, Tables, batch_of, envelope, make
from tests.support.independent import arrival_hashes, check_sound, problems_of
from tests.support.processes import Server, run_json
from wakumail.archive import independent
from wakumail.archive.archive import Archive
from wakumail.archive.independent import READER_PROGRAM, verify_independently
from wakumail.errors import ArchiveError
from wakumail.waku.envelope import Envelope


def test_it_imports_nothing_of_ours() -> None:
    imported = set()
    for node in ast.walk(ast.parse(READER_PROGRAM.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
    assert imported - sys.stdlib_module_names == {"lmdb", "rlp", "eth_hash"}


# -- sound archives -------------------------------------------------------------------------------


def test_an_empty_archive_is_sound(tmp_path: Path) -> None:
    Archive(tmp_path).close()
    assert check_sound(tmp_path) == 0
    assert arrival_hashes(tmp_path) == []


def test_archives_of_many_shapes_are_sound(tmp_path: Path) -> None:
    envelopes = make(3000, spread=40 * DAY, size=300)
    with Archive(tmp_path, sync=False) as archive:
        for first in range(0, 3000, 250):
            archive.append([batch_of(envelopes[first : first + 250])])
        archive.append([batch_of(envelopes[:100])])  # duplicates
        archive.append([batch_of([envelope(START, b"vast", 9, 900_000)])])
        assert check_sound(tmp_path) == 3001
        archive.prune(START + 9 * DAY + 1234, limit=10_000)
        archive.append([batch_of(envelopes[:50])])  # again, after they were pruned
        archive.prune(START + 20 * DAY, limit=77)
        assert check_sound(tmp_path) == archive.stat().envelopes


def test_hashes_come_in_the_order_of_arrival(tmp_path: Path) -> None:
    sent: list[Envelope] = []
    with Archive(tmp_path, sync=False) as archive:
        for first in range(0, 200, 50):
            batch = sorted(make(50, first=first), key=lambda each: (each.created, each.hash))
            archive.append([batch_of(batch)])
            sent += batch
        assert arrival_hashes(tmp_path) == [each.hash for each in sent]
        archive.prune(START + DAY, limit=1000)
    kept = [each.hash for each in sent if each.created >= START + DAY]
    assert arrival_hashes(tmp_path) == kept


@given(
    actions=st.lists(
        st.one_of(
            st.lists(st.integers(0, 300), min_size=1, max_size=60),
            st.tuples(st.integers(0, 3 * DAY), st.integers(1, 40)),
        ),
        max_size=12,
    )
)
@settings(max_examples=8, deadline=None)
def test_whatever_was_appended_and_pruned_it_agrees(
    tmp_path_factory: pytest.TempPathFactory, actions: list[list[int] | tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("sound")
    with Archive(path, sync=False) as archive:
        for action in actions:
            if isinstance(action, tuple):
                archive.prune(START + action[0], limit=action[1])
            else:
                numbers = {each * 877 % (3 * DAY): each for each in action}
                made = [
                    envelope(START + second, bytes([0, 0, 0, each % 7]), each, 300)
                    for second, each in numbers.items()
                ]
                archive.append([batch_of(made)])
        assert check_sound(path) == archive.stat().envelopes


# -- damage ---------------------------------------------------------------------------------------


def test_each_kind_of_damage_is_found(tmp_path: Path) -> None:
    cases: list[tuple[list[Edit], str]] = []
    edits: list[tuple[Path, Edit]] = []
    for make_one, damages_of in ((make_intact, damages), (make_sorted, sorted_damages)):
        tables: Tables = make_one(tmp_path / make_one.__name__)
        check_sound(tmp_path / make_one.__name__)
        first = len(cases)
        cases += damages_of(tables)
        for case in range(first, len(cases)):
            shutil.copytree(tmp_path / make_one.__name__, tmp_path / str(case))
    for case, (rows, _) in enumerate(cases):
        edits += [(tmp_path / str(case), row) for row in rows]
    edit(edits)
    found = problems_of([tmp_path / str(case) for case in range(len(cases))])
    for (rows, expected), problems in zip(cases, found, strict=True):
        place = expected.partition("(day ")[2].split(",")[0].rstrip(")")
        assert any((f"(day {place}" if place else "") in each for each in problems), (
            rows,
            expected,
            problems,
        )


def test_problems_are_counted_and_the_first_hundred_told(tmp_path: Path) -> None:
    tables = make_intact(tmp_path)
    rows = tables["times"].items()
    edit([(tmp_path, ("times", key, value[:4] + bytes(2) + b"late")) for key, value in rows])
    opinion = verify_independently(tmp_path)
    assert opinion.count > 300
    assert len(opinion.problems) == 100
    assert opinion.envelopes == 0


def test_a_damaged_page_is_a_problem(tmp_path: Path) -> None:
    with Archive(tmp_path) as archive:
        archive.append([batch_of(make(300, size=600))])
    break_overflow_page(tmp_path)
    opinion = verify_independently(tmp_path)
    assert opinion.count == len(opinion.problems) > 0


def test_what_cannot_be_checked_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArchiveError, match="No such file"):
        verify_independently(tmp_path / "typo")
    (tmp_path / "data.mdb").write_bytes(b"no archive " * 1000)
    with pytest.raises(ArchiveError, match="it cannot be checked"):
        verify_independently(tmp_path)
    program = tmp_path / "program.py"
    program.write_text(READER_PROGRAM.read_text().replace("import rlp", "import no_such_rlp"))
    monkeypatch.setattr(independent, "READER_PROGRAM", program)
    with pytest.raises(ArchiveError, match='pip install "lmdb>=3" "rlp>=4"'):
        verify_independently(tmp_path)


# -- the command ----------------------------------------------------------------------------------


def test_the_command_works_beside_a_server(tmp_path: Path) -> None:
    now = int(time.time())
    with Archive(tmp_path / "data" / "archive") as archive:
        archive.append([batch_of(make(300, start=now - 1000, spread=900))])
    with Server(tmp_path / "data"):
        result = run_json("archive", "verify", "--independent", "--datadir", tmp_path / "data")
    assert result == {"envelopes": 300, "count": 0, "problems": []}


def test_the_command_finds_damage(tmp_path: Path) -> None:
    tables = make_intact(tmp_path / "archive")
    key, value = next(iter(tables["chunks"].items()))
    edit([(tmp_path / "archive", ("chunks", key, value[:-1]))])
    arguments = ("archive", "verify", "--independent", "--datadir", tmp_path)
    result = run_json(*arguments, check=1)
    assert result["count"] > 0
    assert any("a chunk's parts do not fit together" in each for each in result["problems"])
