"""Copies are whole, compact and of one moment, also of a busy archive; none is left half-made."""

import os
import resource
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.archive_model import (
    START,
    batch_of,
    check_tables,
    everything,
    make,
    python,
    read_tables,
    sorted_down,
)
from wakumail.archive.archive import Archive
from wakumail.archive.page_check import check_pages
from wakumail.errors import ArchiveError, ArchiveFull

BATCH = 50

FREE_PAGES = """
import lmdb, sys
with lmdb.open(sys.argv[1], readonly=True, lock=False) as env, env.begin() as txn:
    print(sum(1 for _ in txn.cursor(env.open_db(None, txn))), env.info()["last_pgno"])
"""


def count_sound(path: Path) -> int:
    """The number of envelopes of a copy, which must be sound."""
    with Archive(path, readonly=True) as archive, archive.verify() as verification:
        assert sum(verification) == verification.total
        assert verification.describe() == []
        return verification.envelopes


def test_a_copy_is_the_archive_without_its_free_pages(tmp_path: Path) -> None:
    old = make(3000, size=300)
    with Archive(tmp_path / "archive") as archive:
        archive.append([batch_of(old)])
        while archive.prune(START + 2 * 86400, limit=500).more:
            pass
        mask = os.umask(0)
        try:
            archive.copy(tmp_path / "a" / "copy")
        finally:
            os.umask(mask)
        archive.append([batch_of(make(10, first=5000))])
    copy = tmp_path / "a" / "copy"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o700
    assert [each.name for each in copy.iterdir()] == ["data.mdb"]
    assert stat.S_IMODE((copy / "data.mdb").stat().st_mode) == 0o600
    assert (copy / "data.mdb").stat().st_size < (tmp_path / "archive/data.mdb").stat().st_size / 2
    assert check_pages(copy) == (0, [])
    last_page = int(python(FREE_PAGES, copy).split()[1])
    assert (copy / "data.mdb").stat().st_size == (last_page + 1) * 4096
    left = [each for each in old if each.created >= START + 2 * 86400]
    assert count_sound(copy) == len(left)
    with Archive(copy) as archive:
        assert archive.stat().file_bytes == (copy / "data.mdb").stat().st_size
        assert everything(archive) == sorted_down(left)
        assert archive.stat().next_sequence == 3000
        archive.append([batch_of(make(20, first=9000))])
        assert archive.stat().envelopes == len(left) + 20


def test_a_copy_of_nothing(tmp_path: Path) -> None:
    with Archive(tmp_path / "archive") as archive:
        archive.copy(str(tmp_path / "copy"))
    assert count_sound(tmp_path / "copy") == 0
    check_tables(read_tables(tmp_path / "copy"), [])


def test_a_copy_of_a_copy_is_the_same(tmp_path: Path) -> None:
    with Archive(tmp_path / "archive") as archive:
        archive.append([batch_of(make(100))])
        archive.copy(tmp_path / "one")
    with Archive(tmp_path / "one", readonly=True) as archive:
        archive.copy(tmp_path / "two")
    assert read_tables(tmp_path / "two") == read_tables(tmp_path / "archive")


@pytest.mark.parametrize("kind", ["file", "link to nothing", "archive itself"])
def test_an_existing_file_is_left_alone(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "copy"
    with Archive(tmp_path / "archive") as archive:
        archive.append([batch_of(make(10))])
        if kind == "archive itself":
            target = tmp_path / "archive"
        else:
            target.mkdir()
        if kind == "file":
            (target / "data.mdb").write_bytes(b"mine")
        if kind == "link to nothing":
            (target / "data.mdb").symlink_to(tmp_path / "nothing")
        before = sorted(target.iterdir())
        with pytest.raises(ArchiveError, match=r"copy/data.mdb: File exists|archive/data.mdb: Fi"):
            archive.copy(target)
        assert sorted(target.iterdir()) == before
        assert archive.stat().envelopes == 10
    if kind == "file":
        assert (target / "data.mdb").read_bytes() == b"mine"


def test_a_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with Archive(tmp_path / "archive") as archive:
        for path in (tmp_path / "file", tmp_path / "file" / "copy"):
            with pytest.raises(ArchiveError, match=r"File exists|Not a directory"):
                archive.copy(path)
        with pytest.raises(ArchiveError, match="too long"):
            archive.copy(tmp_path / ("x" * 300))
    with pytest.raises(ArchiveError, match="closed"):
        archive.copy(tmp_path / "copy")
    assert list((tmp_path / "copy").iterdir()) == []


@pytest.mark.parametrize("room", [0, 4096, 1 << 20])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, room: int) -> None:
    with Archive(tmp_path / "archive") as archive:
        archive.append([batch_of(make(5000, size=600))])
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        try:
            with pytest.raises(ArchiveFull, match="File too large"):
                archive.copy(tmp_path / "copy")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert list((tmp_path / "copy").iterdir()) == []
        archive.copy(tmp_path / "copy")
    assert count_sound(tmp_path / "copy") == 5000


class Feeder:
    """Appends batches in a thread of its own until it is stopped."""

    def __init__(self, archive: Archive) -> None:
        self.stored = 0
        self._archive = archive
        self._batches = [batch_of(make(BATCH, first=each * BATCH, size=600)) for each in range(600)]
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._feed)

    def __enter__(self) -> "Feeder":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ending.set()
        self._thread.join()

    def _feed(self) -> None:
        for each in self._batches:
            if self._ending.is_set():
                return
            self.stored += self._archive.append([each]).stored


def test_copies_while_a_thread_appends(tmp_path: Path) -> None:
    with Archive(tmp_path / "archive", sync=False, map_size=1 << 16) as archive:
        before = []
        with Feeder(archive) as feeder:
            for number in range(6):
                before.append(feeder.stored)
                archive.copy(tmp_path / str(number))
            after = feeder.stored
        assert after > before[0]
    for number, least in enumerate(before):
        count = count_sound(tmp_path / str(number))
        assert least <= count <= after + BATCH
        assert count % BATCH == 0


COPY = """
import sys
from wakumail.archive.archive import Archive
with Archive(sys.argv[1], readonly=True) as archive:
    for number in range(5):
        print(number, flush=True)
        archive.copy(f"{sys.argv[2]}/{number}")
"""


def test_copies_in_another_process_that_may_only_read(tmp_path: Path) -> None:
    with Archive(tmp_path / "archive", sync=False, map_size=1 << 16) as archive:
        before = []
        with Feeder(archive) as feeder:
            command = [sys.executable, "-c", COPY, str(tmp_path / "archive"), str(tmp_path)]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as copier:
                assert copier.stdout is not None
                for _ in copier.stdout:
                    before.append(feeder.stored)
            assert copier.returncode == 0
            after = feeder.stored
    assert len(before) == 5
    for number in range(5):
        count = count_sound(tmp_path / str(number))
        assert (before[number - 1] if number else 0) <= count <= after + BATCH
        assert count % BATCH == 0
