"""Opening an archive: which files are refused, and that each read of damage raises."""

import gc
import os
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.archive_model import (
    DAY,
    Tables,
    add_free_pages,
    batch_of,
    everything,
    make,
    position_of,
    put_row,
    python,
    read_packet,
    read_tables,
    sorted_down,
)
from wakumail.archive.archive import Archive, Query
from wakumail.errors import ArchiveError, ArchiveFull

EVERYTHING = Query(0, 2**32 - 1)


def test_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        Archive(tmp_path / "archive").close()
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "archive").stat().st_mode) == 0o700
    for name in ("data.mdb", "lock.mdb"):
        assert stat.S_IMODE((tmp_path / "archive" / name).stat().st_mode) == 0o600


def test_one_directory_is_open_once_in_a_process(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "archive")
    first = Archive(tmp_path / "archive")
    for path in (tmp_path / "archive", tmp_path / "link"):
        with pytest.raises(ArchiveError, match="open in this process"):
            Archive(path)
    first.close()
    with Archive(tmp_path / "link"):
        first.close()
        with pytest.raises(ArchiveError, match="open in this process"):
            Archive(tmp_path / "archive")


def test_a_failed_opening_leaves_the_directory_free(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"no archive " * 1000)
    with pytest.raises(ArchiveError):
        Archive(tmp_path)
    (tmp_path / "data.mdb").unlink()
    Archive(tmp_path).close()


def test_a_failed_opening_leaves_nothing_to_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unraised: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraised.append)
    (tmp_path / "data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(ArchiveError):
        Archive(tmp_path, sync=False)
    gc.collect()
    assert unraised == []


def test_a_closed_archive_says_so(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.close()
    calls: list[Callable[[], object]] = [
        archive.stat,
        archive.days,
        lambda: archive.append([batch_of(make(1))]),
        lambda: archive.page_job(EVERYTHING, limit=1, max_bytes=1).do(),
        lambda: archive.follow(0, max_bytes=1),
        lambda: archive.contains(0, bytes(32)),
        Archive.__new__(Archive).stat,
    ]
    for call in calls:
        with pytest.raises(ArchiveError, match="closed"):
            call()
    archive.close()


def test_readonly(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="No such file"):
        Archive(tmp_path / "archive", readonly=True)
    assert not (tmp_path / "archive").exists()
    with Archive(tmp_path / "archive") as archive:
        archive.append([batch_of(make(3))])
    with Archive(tmp_path / "archive", readonly=True) as archive:
        assert len(everything(archive)) == 3
        with pytest.raises(ArchiveError, match="Permission denied"):
            archive.append([batch_of(make(1, first=9))])
        assert len(everything(archive)) == 3


def test_wrong_arguments(tmp_path: Path) -> None:
    with Archive(tmp_path) as archive:
        with pytest.raises(TypeError):
            archive.append([None])  # type: ignore[list-item]
        with pytest.raises(TypeError):
            archive.append([b"batch"])  # type: ignore[list-item]
        with pytest.raises(TypeError):
            archive.page_job(None, limit=1, max_bytes=1).do()  # type: ignore[arg-type]
        for created, size in ((-1, 32), (2**32, 32), (0, 31), (0, 33)):
            with pytest.raises(ValueError, match="32"):
                archive.contains(created, bytes(size))
        with pytest.raises(ArchiveError, match="is open"):
            archive.__init__(tmp_path)  # type: ignore[misc]


MAKE_FOREIGN = """
import lmdb, sys
with lmdb.open(sys.argv[1], max_dbs=2) as env, env.begin(write=True) as txn:
    txn.put(b"key", b"value", db=env.open_db(b"meta", txn) if "meta" in sys.argv[2:] else None)
    if "row" in sys.argv[2:]:
        txn.put(b"meta", b"a row")
"""


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("kind", [[], ["meta"], ["row"]])
def test_other_lmdb_files_are_refused_and_left_alone(
    tmp_path: Path, kind: list[str], readonly: bool
) -> None:
    python(MAKE_FOREIGN, tmp_path, *kind)
    before = (tmp_path / "data.mdb").read_bytes()
    with pytest.raises(ArchiveError, match="not an archive"):
        Archive(tmp_path, readonly=readonly)
    assert (tmp_path / "data.mdb").read_bytes() == before


@pytest.mark.parametrize("content", [b"x", b"some text " * 2000, bytes(20_000)])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.mdb").write_bytes(content)
    with pytest.raises(ArchiveError, match="not an archive"):
        Archive(tmp_path)
    assert (tmp_path / "data.mdb").read_bytes() == content


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("a file")
    with pytest.raises(ArchiveError, match="File exists"):
        Archive(tmp_path / "archive")


@pytest.mark.parametrize("version", [0, 1, 2, 4, 2**32 - 1])
def test_other_formats_are_refused(tmp_path: Path, version: int) -> None:
    Archive(tmp_path).close()
    put_row(tmp_path, "meta", b"format", version.to_bytes(4, "big"))
    with pytest.raises(
        ArchiveError, match=f"has format {version}, this version reads format 3"
    ) as refused:
        Archive(tmp_path)
    assert "`wakumail archive export FILE --datadir OLD`" in str(refused.value)
    assert "`wakumail archive import FILE --datadir NEW`" in str(refused.value)


@pytest.mark.parametrize("missing", [1, 4096, 100_000])
def test_a_torn_file_is_refused_and_left_alone(tmp_path: Path, missing: int) -> None:
    with Archive(tmp_path) as archive:
        archive.append([batch_of(make(500, size=1000))])
    size = (tmp_path / "data.mdb").stat().st_size - missing
    os.truncate(tmp_path / "data.mdb", size)
    for readonly in (False, True):
        with pytest.raises(ArchiveError, match="torn"):
            Archive(tmp_path, readonly=readonly)
    assert (tmp_path / "data.mdb").stat().st_size == size


def test_free_pages_may_be_missing_at_the_end(tmp_path: Path) -> None:
    stored = make(100)
    with Archive(tmp_path) as archive:
        archive.append([batch_of(stored)])
    add_free_pages(tmp_path)
    os.truncate(tmp_path / "data.mdb", (tmp_path / "data.mdb").stat().st_size - 9 * 4096)
    for readonly in (True, False):
        with Archive(tmp_path, readonly=readonly) as archive:
            assert everything(archive) == sorted_down(stored)
    with Archive(tmp_path) as archive:
        archive.append([batch_of(make(500, first=100, size=1000))])
        assert len(everything(archive)) == 600


def damage(tables: Tables, table: str) -> list[tuple[bytes, bytes]]:
    key, value = next(iter(tables[table].items()))
    wrong = [(key, b""), (key, value[:-1]), (key, value + b"\0")]
    if table != "chunks":
        wrong.append((key + b"\0", value))
    else:
        wrong += [(key, bytes(4) + value[4:]), (key, b"\xff" * 8 + value[8:])]
    if table in ("times", "postings"):
        wrong.append((key, value[:-6] + b"\x7f" * 6))
    return wrong


@pytest.mark.parametrize("table", ["times", "postings", "chunks", "arrivals", "days", "topics"])
def test_damaged_rows_end_in_an_error(tmp_path: Path, table: str) -> None:
    stored = make(20, spread=DAY)
    with Archive(tmp_path / "intact") as archive:
        archive.append([batch_of(stored)])
    topics = {each.topic for each in stored}
    for key, value in damage(read_tables(tmp_path / "intact"), table):
        shutil.rmtree(tmp_path / "damaged", ignore_errors=True)
        shutil.copytree(tmp_path / "intact", tmp_path / "damaged")
        put_row(tmp_path / "damaged", table, key, value)
        errors = 0
        with Archive(tmp_path / "damaged") as archive:
            calls: list[Callable[[], object]] = [
                archive.days,
                archive.stat,
                lambda: archive.append([batch_of(make(9, first=50, spread=DAY))]),
                lambda: archive.follow(0, max_bytes=1 << 20),
                lambda: everything(archive),
            ]
            for newest_first in (True, False):
                for wanted in (topics, [*topics, *(bytes([each] * 4) for each in range(30))]):
                    query = Query(0, 2**32 - 1, topics=wanted, newest_first=newest_first)
                    calls.append(
                        lambda query=query: archive.page_job(
                            query, limit=99, max_bytes=1 << 20
                        ).do()  # type: ignore[misc]
                    )
            for call in calls:
                try:
                    call()
                except ArchiveError as error:
                    errors += "damaged" in str(error)
        assert errors, (table, key.hex(), value.hex())
        if table in ("times", "postings") and len(value) > 6:
            assert errors < len(calls)


def test_what_a_position_may_name_is_never_trusted(tmp_path: Path) -> None:
    stored = make(5)
    with Archive(tmp_path) as archive:
        archive.append([batch_of(stored)])
        for position in (bytes(36), b"\xff" * 36, position_of(stored[0])[:20] + b"\xff" * 16):
            page = archive.page_job(EVERYTHING, position, limit=9, max_bytes=1 << 20).do()
            expected = [
                each for each in sorted_down(stored) if position_of(each)[:20] < position[:20]
            ]
            assert read_packet(page.packet) == expected


def test_full_is_an_archive_error_of_its_own_name() -> None:
    assert issubclass(ArchiveFull, ArchiveError)
    assert ArchiveFull.counter != ArchiveError.counter
