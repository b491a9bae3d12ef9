"""Verification: a sound archive passes, each kind of damage is found and named, none is fatal."""

import random
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
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
from tests.support.archive_model import (
    DAY,
    START,
    Tables,
    batch_of,
    envelope,
    make,
    read_tables,
)
from wakumail.archive import page_check
from wakumail.archive.archive import Archive
from wakumail.archive.results import MAX_PROBLEMS_TOLD
from wakumail.errors import ArchiveError


def verify(path: Path) -> list[str]:
    """The first hundred problems of an archive: the same whether it is read ahead or not."""
    found = []
    for ahead in (False, True):
        with Archive(path, readonly=True) as archive:
            archive._read_ahead_always(ahead)
            with archive.verify() as verification:
                for _ in verification:
                    pass
                problems = verification.describe()
                assert min(verification.problems, MAX_PROBLEMS_TOLD) == len(problems)
        found.append(problems)
    assert found[0] == found[1]
    return found[0]


def verify_sound(archive: Archive) -> None:
    with archive.verify() as verification:
        assert sum(verification) == verification.total
        assert verification.describe() == []
        assert verification.problems == 0
        assert verification.envelopes == archive.stat().envelopes


# -- sound archives -------------------------------------------------------------------------------


def test_an_empty_archive_is_sound(tmp_path: Path) -> None:
    with Archive(tmp_path) as archive:
        verify_sound(archive)


@given(
    actions=st.lists(
        st.one_of(
            st.lists(st.integers(0, 300), min_size=1, max_size=60),
            st.tuples(st.integers(0, 3 * DAY), st.integers(1, 40)),
        ),
        max_size=12,
    )
)
@settings(max_examples=50, deadline=None)
def test_whatever_was_appended_and_pruned_the_archive_is_sound(
    tmp_path_factory: pytest.TempPathFactory, actions: list[list[int] | tuple[int, int]]
) -> None:
    """Old envelopes come late, and again, while pruned ones still lie in their chunks."""
    with Archive(tmp_path_factory.mktemp("sound"), sync=False) as archive:
        for action in actions:
            if isinstance(action, tuple):
                archive.prune(START + action[0], limit=action[1])
            else:
                numbers = {each * 877 % (3 * DAY): each for each in action}
                archive.append(
                    [
                        batch_of(
                            envelope(START + second, bytes([0, 0, 0, each % 7]), each, 300)
                            for second, each in numbers.items()
                        )
                    ]
                )
            verify_sound(archive)


def test_large_envelopes_and_many_steps(tmp_path: Path) -> None:
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(make(2000, size=600))])
        archive.append([batch_of([envelope(START, b"vast", 9, 900_000)])])
        verify_sound(archive)
        with archive.verify() as verification:
            steps = list(verification)
        assert len(steps) > 8
        assert max(steps) < 1_200_000
        assert sorted(steps)[-2] < 400_000


APPEND_FOREVER = """
import sys
from tests.support.archive_model import batch_of, make
from wakumail.archive.archive import Archive
first = int(sys.argv[2])
batches = [batch_of(make(40, first=first + each, size=300)) for each in range(0, 4000, 40)]
with Archive(sys.argv[1]) as archive:
    print("go", flush=True)
    for each in batches:
        archive.append([each])
        archive.prune(19_000 * 86400 + 40_000, limit=20)
"""


def test_an_archive_whose_writers_were_killed_is_sound(tmp_path: Path) -> None:
    for kill in range(4):
        command = [sys.executable, "-c", APPEND_FOREVER, str(tmp_path), str(kill * 4000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"go\n"
            with pytest.raises(subprocess.TimeoutExpired):
                writer.wait(random.random() * 0.05)
            writer.kill()
            assert writer.wait() == -signal.SIGKILL
        with Archive(tmp_path, readonly=True) as archive:
            verify_sound(archive)


# -- one state, while others work -----------------------------------------------------------------


def test_it_sees_one_state_while_the_file_grows(tmp_path: Path) -> None:
    with Archive(tmp_path, sync=False, map_size=1 << 20) as archive:
        archive.append([batch_of(make(1000, size=300))])
        with archive.verify() as verification:
            seen = next(verification)
            archive.append([batch_of(make(8000, first=1000, size=600))])
            archive.prune(START + DAY, limit=10_000)
            archive.append([batch_of(make(8000, first=9000, size=600))])
            seen += sum(verification)
            assert seen == verification.total
            assert (verification.problems, verification.envelopes) == (0, 1000)
        verify_sound(archive)


def test_two_threads_share_one(tmp_path: Path) -> None:
    with Archive(tmp_path, sync=False) as archive, ThreadPoolExecutor(2) as threads:
        archive.append([batch_of(make(8000, size=600))])
        with archive.verify() as verification:
            assert sum(threads.map(sum, [verification, verification])) == verification.total
            assert (verification.problems, verification.envelopes) == (0, 8000)


def test_closing_ends_it(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.append([batch_of(make(10))])
    ended, left = archive.verify(), archive.verify()
    ended.close()
    ended.close()
    with pytest.raises(ArchiveError, match="closed"):
        next(ended)
    assert next(left) > 0
    archive.close()
    with pytest.raises(ArchiveError, match="closed"):
        next(left)
    assert left.problems == 0
    left.close()
    with pytest.raises(ArchiveError, match="closed"):
        archive.verify()
    with Archive(tmp_path) as again:
        verify_sound(again)
        kept = again.verify()
    del again
    kept.close()


def test_it_pins_pages_only_while_it_is_open(tmp_path: Path) -> None:
    def churn(archive: Archive) -> int:
        for round_ in range(10):
            archive.append([batch_of(make(500, first=round_ * 500, size=300))])
            while archive.prune(2**32, limit=500).more:
                pass
        return (tmp_path / "data.mdb").stat().st_size

    with Archive(tmp_path, sync=False) as archive:
        churn(archive)
        size = churn(archive)
        with archive.verify():
            grown = churn(archive)
        assert grown > size
        assert churn(archive) == churn(archive) == grown


# -- damage ---------------------------------------------------------------------------------------


Made = tuple[Path, Tables, list[tuple[list[Edit], str]]]


@pytest.fixture(scope="module", params=["intact", "sorted"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """An archive of three days in several chunks, its rows and their damages."""
    path: Path = tmp_path_factory.mktemp(request.param)
    if request.param == "intact":
        tables = make_intact(path)
        return path, tables, list(damages(tables))
    tables = make_sorted(path)
    return path, tables, list(sorted_damages(tables))


def test_each_kind_of_damage_is_named(tmp_path: Path, made: Made) -> None:
    path, _, cases = made
    assert verify(path) == []
    edits: list[tuple[Path, Edit]] = []
    for case, (rows, _) in enumerate(cases):
        shutil.copytree(path, tmp_path / str(case))
        edits += [(tmp_path / str(case), row) for row in rows]
    edit(edits)
    for case, (rows, expected) in enumerate(cases):
        problems = verify(tmp_path / str(case))
        assert any(expected in each for each in problems), "\n".join(
            [str(rows), expected, *problems]
        )


def mutations(tables: Tables, count: int) -> list[Edit]:
    """Rows with one byte changed, the same number in each table."""
    source = random.Random(0)
    mutated: list[Edit] = []
    for table, rows in tables.items():
        for _ in range(count):
            key, value = source.choice(list(rows.items()))
            at = source.randrange(len(value))
            # The first bytes of a chunk matter more than its envelopes.
            at = source.choice([at, min(at, 40)])
            byte = bytes([value[at] ^ source.randrange(1, 256)])
            mutated.append((table, key, value[:at] + byte + value[at + 1 :]))
    return mutated


def test_a_changed_byte_is_found_or_harmless(tmp_path: Path, made: Made) -> None:
    path, tables, _ = made
    next_sequence = tables["meta"][b"next"]
    rows = [each for each in mutations(tables, 30) if each[1] != b"format"]
    for case in range(len(rows)):
        shutil.copytree(path, tmp_path / str(case))
    edit([(tmp_path / str(case), row) for case, row in enumerate(rows)])
    for case, (table, key, value) in enumerate(rows):
        problems = verify(tmp_path / str(case))
        harmless = key in (b"pruned", b"sorting") or (
            key == b"next" and value is not None and value > next_sequence
        )
        assert bool(problems) != harmless, (table, key, value)


def test_problems_are_counted_and_the_first_hundred_described(tmp_path: Path) -> None:
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(make(150, size=200))])
    tables = read_tables(tmp_path)
    rows = tables["times"].items()
    edit([(tmp_path, ("times", key, value[:4] + bytes(2) + b"late")) for key, value in rows])
    with Archive(tmp_path) as archive, archive.verify() as verification:
        while next(verification, None) is not None:
            pass
        assert verification.problems > 300
        assert len(verification.describe()) == 100
        assert verification.envelopes == 0


def test_a_damaged_page_ends_it(tmp_path: Path) -> None:
    with Archive(tmp_path) as archive:
        archive.append([batch_of(make(300, size=600))])
    break_overflow_page(tmp_path)
    assert any("LMDB met a damaged page" in each for each in verify(tmp_path))
    count, told = page_check.check_pages(tmp_path)
    assert count >= len(told) > 0


# -- the pages ------------------------------------------------------------------------------------


def test_the_pages_of_a_sound_archive(tmp_path: Path) -> None:
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(make(3000, size=300))])
        archive.prune(START + DAY, limit=3000)
    assert page_check.check_pages(tmp_path) == (0, [])


def test_damaged_pages_are_counted(tmp_path: Path) -> None:
    with Archive(tmp_path) as archive:
        archive.append([batch_of(make(3000, size=300))])
    content = bytearray((tmp_path / "data.mdb").read_bytes())
    content[8 * 4096 : -4096] = bytes(len(content) - 9 * 4096)
    (tmp_path / "data.mdb").write_bytes(content)
    count, told = page_check.check_pages(tmp_path)
    assert count >= len(told) > 0
    assert len(told) <= MAX_PROBLEMS_TOLD


def test_what_cannot_be_checked_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArchiveError, match="No such file"):
        page_check.check_pages(tmp_path)
    (tmp_path / "data.mdb").write_bytes(b"no archive " * 1000)
    with pytest.raises(ArchiveError, match="the pages cannot be checked"):
        page_check.check_pages(tmp_path)
    program = page_check.CHECK_PROGRAM.replace("from lmdb import", "from no_such_lmdb import")
    monkeypatch.setattr(page_check, "CHECK_PROGRAM", program)
    with pytest.raises(ArchiveError, match=r'needs the package lmdb: pip install "lmdb>=3"'):
        page_check.check_pages(tmp_path)
