"""Damaged and cut files of a LevelDB: all rows are read, or the loss is told."""

import contextlib
import shutil
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.statusgo_rows import row, some
from wakumail.archive.leveldb_files import LogRecords
from wakumail.archive.statusgo_storage import StatusGoError, open_leveldb


@pytest.fixture
def storage(plyvel: Any, tmp_path: Path) -> tuple[Path, dict[bytes, bytes]]:
    """A LevelDB with several tables, a log and a manifest of several records; and its rows."""
    path, rows = tmp_path / "waku", dict(map(row, some(600, size=500)))
    options = {"create_if_missing": True, "write_buffer_size": 64 << 10}
    for part in range(2):
        with contextlib.closing(plyvel.DB(str(path), **options)) as database:
            for name in list(rows)[part::2]:
                database.put(name, rows[name])
    return path, rows


def test_every_damaged_file_of_a_leveldb_is_told(
    storage: tuple[Path, dict[bytes, bytes]], tmp_path: Path
) -> None:
    whole, rows = storage
    random = Random(12)
    files = sorted(path for path in whole.iterdir() if path.name[:3] not in ("LOC", "LOG"))
    logs = [file for file in files if file.suffix == ".log"]
    assert logs
    assert len(files) > 4
    for file in files:
        size = file.stat().st_size
        for number in range(9):
            copy = tmp_path / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(whole, copy)
            content = bytearray(file.read_bytes())
            at = random.randrange(size)
            if number == 0:
                (copy / file.name).unlink()
            elif number % 2:
                (copy / file.name).write_bytes(content[:at])
            else:
                content[at] ^= 1 << random.randrange(8)
                (copy / file.name).write_bytes(content)
            try:
                with open_leveldb(copy) as source:
                    parts = list(source.parts)
            except StatusGoError:
                continue
            left_out = sum(part.malformed + part.misplaced for part in parts)
            read_rows = sum(len(part.batch) for part in parts)
            # What nothing shows: a cut between two records, and a newer log that is gone.
            unseen = file in logs and (
                at_a_record(content[:at]) if number % 2 else not number and file != logs[0]
            )
            told = bool(source.unread) or bool(left_out)
            assert told or read_rows == len(rows) or unseen, (file.name, number, at)


def at_a_record(log: bytearray) -> bool:
    """True if a log ends with a record, as one that was never longer does."""
    records = LogRecords(bytes(log))
    return len(list(records)) >= 0 and not records.cut


def test_a_sound_leveldb_has_lost_nothing(storage: tuple[Path, dict[bytes, bytes]]) -> None:
    path, rows = storage
    with open_leveldb(path) as source:
        assert sum(len(part.batch) for part in source.parts) == len(rows)
    assert source.unread == []
