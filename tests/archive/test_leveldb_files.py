"""Damaged and cut files of a LevelDB: all rows are read, or the loss is told."""

import contextlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.patience import PATIENCE
from tests.support.statusgo_rows import row, some
from wakumail.archive.leveldb_files import (
    BLOCK_SIZE,
    FULL,
    HEADER_SIZE,
    LogRecords,
    unread,
)
from wakumail.archive.statusgo_storage import StatusGoError, open_leveldb

Rows = dict[bytes, bytes]
Damage = Callable[[bytearray, Random], None]

TRIES = 12
"""Random places of each kind of damage in each file."""


def heads(log: bytes | bytearray) -> Iterator[int]:
    """The places where parts of records begin."""
    at = 0
    while at + HEADER_SIZE <= len(log):
        if (room := BLOCK_SIZE - at % BLOCK_SIZE) < HEADER_SIZE:
            at += room
            continue
        yield at
        at += HEADER_SIZE + int.from_bytes(log[at + 4 : at + 6], "little")


def write(plyvel: Any, path: Path, rows: Rows, **options: Any) -> None:
    with contextlib.closing(plyvel.DB(str(path), create_if_missing=True, **options)) as database:
        for name, value in rows.items():
            database.put(name, value)


def with_a_log(plyvel: Any, path: Path) -> Rows:
    """One log of several blocks, and no table."""
    rows = dict(map(row, some(300, size=500)))
    write(plyvel, path, rows)
    return rows


def with_two_logs(plyvel: Any, path: Path) -> Rows:
    """A writer leaves them that dies while it makes a table of its older log."""
    rows = dict(map(row, some(40, size=500)))
    write(plyvel, path, rows)
    (log,) = path.glob("*.log")
    content = log.read_bytes()
    assert len(content) < BLOCK_SIZE  # or a record that moves might have to be cut in two
    places = list(heads(content))
    middle = places[len(places) // 2]
    log.write_bytes(content[:middle])
    (path / "000100.log").write_bytes(content[middle:])
    return rows


def with_tables(plyvel: Any, path: Path) -> Rows:
    """Several tables, a log, and a manifest of several records."""
    rows = dict(map(row, some(600, size=500)))
    names = list(rows)
    for part in range(2):
        some_rows = {name: rows[name] for name in names[part::2]}
        write(plyvel, path, some_rows, write_buffer_size=64 << 10)
    assert len(list(path.glob("*.ldb"))) > 1
    return rows


def cut(content: bytearray, source: Random) -> None:
    del content[source.randrange(len(content)) :]


def cut_at_a_page(content: bytearray, source: Random) -> None:
    del content[source.randrange(len(content)) // 4096 * 4096 :]


def cut_before_a_record(content: bytearray, source: Random) -> None:
    del content[source.choice(list(heads(content))) :]


def empty(content: bytearray, source: Random) -> None:
    content.clear()


def flip_a_bit(content: bytearray, source: Random) -> None:
    content[source.randrange(len(content))] ^= 1 << source.randrange(8)


def change_a_head(content: bytearray, source: Random) -> None:
    content[source.choice(list(heads(content))) + source.randrange(7)] = source.randrange(256)


def zero(content: bytearray, at: int, size: int) -> None:
    size = min(size, len(content) - at)
    content[at : at + size] = bytes(size)


def zero_some_bytes(content: bytearray, source: Random) -> None:
    zero(content, source.randrange(len(content)), source.choice([7, 50, 512, 4096]))


def zero_a_page(content: bytearray, source: Random) -> None:
    zero(content, source.randrange(len(content)) // 4096 * 4096, 4096)


def zero_a_head(content: bytearray, source: Random) -> None:
    zero(content, source.choice(list(heads(content))), HEADER_SIZE)


def zero_from_a_head(content: bytearray, source: Random) -> None:
    zero(content, source.choice(list(heads(content))), len(content))


def zero_a_block_from_a_head(content: bytearray, source: Random) -> None:
    at = source.choice(list(heads(content)))
    zero(content, at, BLOCK_SIZE - at % BLOCK_SIZE)


def zero_everything(content: bytearray, source: Random) -> None:
    zero(content, 0, len(content))


def repeat(content: bytearray, source: Random) -> None:
    content.extend(content[: source.randrange(len(content))])


DAMAGES = [
    *(cut, cut_at_a_page, cut_before_a_record, empty, flip_a_bit, change_a_head),
    *(zero_some_bytes, zero_a_page, zero_a_head, zero_from_a_head, zero_a_block_from_a_head),
    *(zero_everything, repeat),
]


def left_out(path: Path, rows: Rows) -> bool:
    """True if a row is left out, and nothing says so."""
    try:
        with open_leveldb(path) as source:
            parts = list(source.parts)
    except StatusGoError:
        return False
    told = source.unread or any(part.malformed or part.misplaced for part in parts)
    return not told and sum(len(part.batch) for part in parts) < len(rows)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("make", [with_a_log, with_two_logs, with_tables])
def test_a_damaged_file_of_a_leveldb_is_told(
    plyvel: Any, tmp_path: Path, make: Callable[[Any, Path], Rows], damage: Damage
) -> None:
    whole, copy = tmp_path / "waku", tmp_path / "copy"
    rows = make(plyvel, whole)
    source = Random(12)
    files = sorted(path for path in whole.iterdir() if path.name[:3] not in ("LOC", "LOG"))
    newest = max(whole.glob("*.log"))
    for file in files:
        for _ in range(1 if damage in (empty, zero_everything) else TRIES):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(whole, copy)
            content = bytearray(file.read_bytes())
            damage(content, source)
            (copy / file.name).write_bytes(content)
            # The newest log may end with any record, as one that was never longer does.
            unseen = file == newest and content == file.read_bytes()[: len(content)]
            unseen = unseen and (len(content) == file.stat().st_size or ends_whole(content))
            assert unseen or not left_out(copy, rows), (file.name, len(content))


def ends_whole(log: bytearray) -> bool:
    records = LogRecords(bytes(log))
    return len(list(records)) >= 0 and not records.cut


@pytest.mark.parametrize("make", [with_a_log, with_two_logs, with_tables])
def test_a_missing_file_of_a_leveldb_is_told(
    plyvel: Any, tmp_path: Path, make: Callable[[Any, Path], Rows]
) -> None:
    """But not the newer of two logs: nothing names it."""
    whole, copy = tmp_path / "waku", tmp_path / "copy"
    rows = make(plyvel, whole)
    logs = sorted(whole.glob("*.log"))
    for file in whole.iterdir():
        if file.name[:3] not in ("LOC", "LOG") and file not in logs[1:]:
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(whole, copy)
            (copy / file.name).unlink()
            assert not left_out(copy, rows), file.name


def test_what_is_told(plyvel: Any, tmp_path: Path) -> None:
    path = tmp_path / "waku"
    with_two_logs(plyvel, path)
    older, newer = sorted(path.glob("*.log"))
    places = list(heads(older.read_bytes()))
    content = bytearray(older.read_bytes())
    zero(content, places[-3], HEADER_SIZE)
    older.write_bytes(content)
    assert unread(path) == [
        f"{older.name} has {len(content) - places[-3]:,} bytes behind a zeroed head of a record",
        f"{newer.name} lacks 3 changes before a record",
    ]


def reopen(plyvel: Any, path: Path, rows: Rows) -> None:
    for name, value in rows.items():
        write(plyvel, path, {name: value})


def compact(plyvel: Any, path: Path, rows: Rows) -> None:
    with contextlib.closing(plyvel.DB(str(path), create_if_missing=True)) as database:
        for number, (name, value) in enumerate(rows.items()):
            database.put(name, value)
            if number % 9 == 5:
                database.compact_range()


def write_batches(plyvel: Any, path: Path, rows: Rows) -> None:
    """Batches of several sizes: some larger than the buffer, some empty."""
    options = {"create_if_missing": True, "write_buffer_size": 64 << 10}
    names = list(rows)
    with contextlib.closing(plyvel.DB(str(path), **options)) as database:
        for first, last in ((0, 2), (2, 2), (2, 3), (3, 200), (200, len(names))):
            with database.write_batch() as batch:
                for name in names[first:last]:
                    batch.put(name, rows[name])


def delete_and_overwrite(plyvel: Any, path: Path, rows: Rows) -> None:
    for _ in range(3):
        with contextlib.closing(plyvel.DB(str(path), create_if_missing=True)) as database:
            for name, value in rows.items():
                database.put(name, b"")
                database.delete(name)
                database.put(name, value)
                database.delete(name + b"none")


def fill_small_buffers(plyvel: Any, path: Path, rows: Rows) -> None:
    """Tables are made while the writer writes on."""
    write(plyvel, path, rows, write_buffer_size=64 << 10, max_file_size=64 << 10)


def repair(plyvel: Any, path: Path, rows: Rows) -> None:
    write(plyvel, path, rows, write_buffer_size=64 << 10)
    plyvel.repair_db(str(path))


KILLED = """
import os, signal, sys, {plyvel}
database = {plyvel}.DB(sys.argv[1], create_if_missing=True, write_buffer_size=64 << 10)
for line in sys.stdin:
    name, value = line.split()
    database.put(bytes.fromhex(name), bytes.fromhex(value))
os.kill(os.getpid(), signal.SIGKILL)
"""


def be_killed(plyvel: Any, path: Path, rows: Rows) -> None:
    names = list(rows)
    for part in range(3):
        lines = "".join(f"{name.hex()} {rows[name].hex()}\n" for name in names[part::3])
        command = [sys.executable, "-c", KILLED.format(plyvel=plyvel.__name__), str(path)]
        done = subprocess.run(command, input=lines, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == -signal.SIGKILL


SHAPES = [
    *(reopen, compact, write_batches, delete_and_overwrite, fill_small_buffers, repair, be_killed)
]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_sound_leveldb_has_lost_nothing(
    plyvel: Any, tmp_path: Path, shape: Callable[[Any, Path, Rows], None]
) -> None:
    path = tmp_path / "waku"
    rows = dict(map(row, some(40 if shape is reopen else 400, size=500)))
    shape(plyvel, path, rows)
    with open_leveldb(path) as source:
        assert sum(len(part.batch) for part in source.parts) == len(rows)
    assert source.unread == []


def test_a_leveldb_that_we_have_read_has_lost_nothing(plyvel: Any, tmp_path: Path) -> None:
    path = tmp_path / "waku"
    rows = with_two_logs(plyvel, path)
    for _ in range(3):
        with open_leveldb(path) as source:
            assert sum(len(part.batch) for part in source.parts) == len(rows)
        assert source.unread == []


def varint(value: int) -> bytes:
    low = value & 0x7F
    return bytes([low]) if value == low else bytes([low | 0x80]) + varint(value >> 7)


def framed(*records: bytes) -> bytes:
    """A log of short records. LevelDB would miss their checksums; `unread` leaves them to it."""
    return b"".join(bytes(4) + len(it).to_bytes(2, "little") + bytes([FULL]) + it for it in records)


LOG, SEQUENCE = 2, 4
"""Tags of a version edit."""


def edit(**numbers: int) -> bytes:
    tags = {"log": LOG, "sequence": SEQUENCE}
    return b"".join(varint(tags[name]) + varint(number) for name, number in numbers.items())


def change(sequence: int, count: int = 1) -> bytes:
    return sequence.to_bytes(8, "little") + count.to_bytes(4, "little")


def lay_out(path: Path, edits: list[bytes], logs: dict[int, list[bytes]]) -> list[str]:
    path.mkdir()
    (path / "CURRENT").write_text("MANIFEST-000002\n")
    (path / "MANIFEST-000002").write_bytes(framed(*edits))
    for number, records in logs.items():
        (path / f"{number:06}.log").write_bytes(framed(*records))
    return unread(path)


@pytest.mark.parametrize(
    ("edits", "logs"),
    [
        # C++ writes the last sequence at the time of the edit: the log is older than that.
        ([edit(log=3, sequence=10)], {3: [change(5, 6), change(11)]}),
        ([edit(log=3, sequence=10), edit(log=3, sequence=12)], {3: [change(11), change(12)]}),
        # goleveldb: a batch that is larger than the buffer goes into tables alone.
        ([edit(log=3, sequence=10), edit(sequence=90)], {3: [change(91)]}),
        (
            [edit(log=3, sequence=10), edit(sequence=90), edit(log=4, sequence=10)],
            {4: [change(91)]},
        ),
        # goleveldb: a sequence number is used again after a write that could not be synced.
        ([edit(log=3, sequence=10)], {3: [change(11), change(11, 2), change(13)]}),
        # goleveldb, ended while it recovered two logs: it counts from the next sequence number.
        ([edit(log=3, sequence=10), edit(log=4, sequence=11)], {4: [change(11)]}),
        # goleveldb, whose older log was in none of the tables when the batch was.
        (
            [edit(log=3, sequence=10), edit(sequence=90)],
            {3: [change(11), change(12)], 4: [change(91)]},
        ),
        # A repaired one names no log.
        ([edit(log=0, sequence=10)], {}),
        ([edit(sequence=10)], {3: [change(20)]}),
        # The oldest logs are left over.
        ([edit(log=3, sequence=10)], {2: [change(1)], 3: []}),
    ],
)
def test_sequences_that_sound_leveldbs_have(
    tmp_path: Path, edits: list[bytes], logs: dict[int, list[bytes]]
) -> None:
    assert lay_out(tmp_path / "waku", edits, logs) == []


@pytest.mark.parametrize(
    "case",
    [
        (
            [edit(log=3, sequence=10)],
            {3: [change(12)]},
            "000003.log lacks 1 change before a record",
        ),
        (
            [edit(log=3, sequence=10), edit(log=3, sequence=13)],
            {3: [change(12), change(13)]},
            "000003.log lacks 1 change before a record",
        ),
        (
            [edit(log=3, sequence=10)],
            {3: [change(11), change(14, 2), change(17)], 4: [change(18)]},
            "000003.log lacks 3 changes before a record",
        ),
        (
            [edit(log=3, sequence=10)],
            {3: [change(11)], 4: [], 5: [change(2000)]},
            "000005.log lacks 1,988 changes before a record",
            "000004.log is empty, but 000005.log follows it",
        ),
        (
            [edit(log=3, sequence=10)],
            {3: [], 4: [change(11)]},
            "000003.log is empty, but 000004.log follows it",
        ),
        (
            # C++ writes the last sequence at the time of the edit: the log begins before it.
            [edit(log=3, sequence=10)],
            {3: [change(5), change(6)], 4: [change(11)]},
            "000004.log lacks 4 changes before a record",
        ),
        (
            [edit(log=3, sequence=10), edit(log=3, sequence=13)],
            {3: [change(11)]},
            "the logs lack the last 2 changes of MANIFEST-000002",
        ),
    ],
)
def test_a_hole_in_the_sequence_is_told(
    tmp_path: Path, case: tuple[list[bytes], dict[int, list[bytes]], *tuple[str, ...]]
) -> None:
    edits, logs, *told = case
    assert lay_out(tmp_path / "waku", edits, logs) == told


def test_zeros_in_a_manifest_are_told(tmp_path: Path) -> None:
    path = tmp_path / "waku"
    lay_out(path, [edit(log=3, sequence=10)], {3: []})
    with (path / "MANIFEST-000002").open("ab") as manifest:
        manifest.write(bytes(4096))
    assert unread(path) == ["MANIFEST-000002 has 4,096 bytes behind a zeroed head of a record"]
