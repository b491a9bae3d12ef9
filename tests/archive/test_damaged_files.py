"""Damaged files: no command, request or commit on them crashes or goes on for ever.

make fuzz tries more of them.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.support.archive_model import DAY, START, batch_of, make, python
from tests.support.damaged_files import DAMAGES, FLAGS_AT, PAGE, in_fork, make_archive
from tests.support.full_tmpfs import small_tmpfs
from wakumail.archive.archive import Archive, Query
from wakumail.errors import ArchiveDamaged, ArchiveError

FIRST = {"nodes": 7, "free": 67}
"""The first seeds of damages, where not 0: on the next a command once crashed or did not end."""


@pytest.mark.parametrize("kind", DAMAGES)
def test_no_damage_crashes(tmp_path: Path, kind: str) -> None:
    program = [sys.executable, "-m", "tests.support.damaged_files"]
    first = FIRST.get(kind, 0)
    arguments = [str(tmp_path), kind, str(first), str(first + 3)]
    done = subprocess.run([*program, *arguments], capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""


def test_pages_that_cannot_be_read_crash_nothing(tmp_path: Path) -> None:
    with small_tmpfs(tmp_path) as disk:
        program = [sys.executable, "-m", "tests.support.damaged_files"]
        arguments = [str(tmp_path), "blanks", "0", "3", str(disk)]
        done = subprocess.run([*program, *arguments], capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""


def split(archive: Archive) -> object:
    with archive.items() as items:
        return items.split((0, b""), (2**64 - 1, b""), 1000)


def read_page(archive: Archive, *, ahead: bool) -> object:
    archive._read_ahead_always(ahead)
    return archive.page_job(Query(0, 2**32 - 1), b"", limit=2**31, max_bytes=2**31).do()


def attempts(archive: Archive) -> list[Callable[[], object]]:
    return [
        partial(read_page, archive, ahead=False),
        partial(read_page, archive, ahead=True),
        archive.stat,
        archive.days,
        lambda: archive.follow(0, max_bytes=10_000_000),
        lambda: archive.contains(START, bytes(32)),
        lambda: archive.arrived(0, limit=10_000),
        lambda: archive.missing(bytes(36)),
        lambda: archive.find(0, 2**32 - 1, bytes(32)),
        lambda: archive.envelopes(bytes(36), max_bytes=1000),
        lambda: split(archive),
        lambda: archive.append([batch_of(make(10, first=10_000))]),
        lambda: archive.prune(START + DAY, limit=100),
    ]


@pytest.mark.parametrize("whole", [True, False], ids=["cut before use", "cut after use"])
def test_a_file_that_is_cut_while_it_is_open_is_an_error(tmp_path: Path, whole: bool) -> None:
    """A sector that cannot be read looks the same to the process: SIGBUS."""
    make_archive(tmp_path)
    with Archive(tmp_path) as archive:
        if not whole:
            for attempt in attempts(archive)[:-2]:
                attempt()
        os.truncate(tmp_path / "data.mdb", 3 * 4096)
        for attempt in attempts(archive):
            with pytest.raises(ArchiveError, match="is damaged; restore a backup"):
                attempt()
        with archive.verify() as verification:
            assert sum(verification) == 0
            assert verification.describe() == ["LMDB met a damaged page: the rest was not checked"]
        with pytest.raises(ArchiveError, match="is damaged; restore a backup"):
            archive.copy(tmp_path / "copy")
        assert list((tmp_path / "copy").iterdir()) == []


def test_a_file_that_is_emptied_while_it_is_open_is_an_error(tmp_path: Path) -> None:
    make_archive(tmp_path)
    content = (tmp_path / "data.mdb").read_bytes()
    with Archive(tmp_path) as archive:
        os.truncate(tmp_path / "data.mdb", 0)
        copying = partial(archive.copy, tmp_path / "copy")
        more: list[Callable[[], object]] = [archive.verify, copying]
        for attempt in attempts(archive) + more:
            with pytest.raises(ArchiveError, match="is damaged; restore a backup"):
                attempt()
        (tmp_path / "data.mdb").write_bytes(content)
        for attempt in attempts(archive):
            attempt()


def test_pages_that_are_damaged_while_they_are_used_are_an_error(tmp_path: Path) -> None:
    make_archive(tmp_path)
    content = (tmp_path / "data.mdb").read_bytes()
    with Archive(tmp_path) as archive:
        for attempt in attempts(archive)[:-2]:
            attempt()
        with (tmp_path / "data.mdb").open("r+b") as file:
            file.seek(2 * 4096)
            file.write(b"\xff" * (len(content) - 2 * 4096))
        for attempt in attempts(archive):
            with pytest.raises(ArchiveError, match="is damaged; restore a backup"):
                attempt()
        with (tmp_path / "data.mdb").open("r+b") as file:
            file.write(content)
        for attempt in attempts(archive):
            attempt()


CLEAR = """
import lmdb, sys
with lmdb.open(sys.argv[1], max_dbs=16) as env, env.begin(write=True) as txn:
    table = env.open_db(sys.argv[2].encode(), txn)
    for key in [key for key, _ in txn.cursor(table) if key != b"format"]:
        txn.delete(key, db=table)
"""


def test_an_assertion_of_lmdb_is_an_error(tmp_path: Path) -> None:
    """The first page of each value says, on disk, that a transaction is changing it."""
    of_value, changed = 4, 16
    with Archive(tmp_path, sync=False) as archive:
        for first in range(0, 200, 50):  # leaves free pages, among which LMDB looks for these
            archive.append([batch_of(make(50, first=first, spread=DAY, size=1000))])
    file = tmp_path / "data.mdb"
    data = bytearray(file.read_bytes())
    for number, page in enumerate(range(0, len(data), PAGE)):
        if data[page : page + 12] == number.to_bytes(8, "little") + bytes([0, 0, of_value, 0]):
            data[page + FLAGS_AT] |= changed
    file.write_bytes(data)

    def prune() -> None:
        with Archive(tmp_path, sync=False) as archive:
            for _ in range(2):
                with pytest.raises(ArchiveDamaged):
                    archive.prune(START + DAY, limit=1000)

    assert in_fork(prune, tmp_path / "log") == ""


TABLES = ["meta", "days", "sums", "topics", "times", "postings", "chunks", "arrivals"]


@pytest.mark.parametrize("table", TABLES)
def test_rows_that_are_missing_are_damage(tmp_path: Path, table: str) -> None:
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(make(300, spread=2 * DAY))])
    python(CLEAR, tmp_path, table)
    with Archive(tmp_path, sync=False) as archive:
        sort = partial(archive.sort, START // DAY * DAY, max_bytes=1 << 20, max_seconds=1.0)
        prune_all = partial(archive.prune, 2**32, limit=10_000)
        tries: list[Callable[[], object]] = [*attempts(archive), sort, prune_all]
        for attempt in tries:
            with suppress(ArchiveDamaged):
                attempt()
