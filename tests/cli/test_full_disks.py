"""Commands on a full disk say that it is full, and name the file."""

import os
from pathlib import Path

import pytest

from tests.support.commands import call
from tests.support.envelopes import dump, make
from tests.support.ext4 import ext4
from tests.support.full_tmpfs import FILLING, fill, free, small_tmpfs


def leave(disk: Path, room: int) -> None:
    """Take all of a disk but for about this many bytes."""
    fill(disk)
    filling = disk / FILLING
    os.truncate(filling, filling.stat().st_size - room)
    os.sync()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that tests only read."""
    datadir = tmp_path_factory.mktemp("filled") / "data"
    call("archive", "import", "--datadir", datadir, stdin=dump(make(3000, [b"full"])))
    return datadir


def test_an_import_that_does_not_fit_says_that_the_disk_is_full(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A write that comes out short leaves some room: less than it needed, but not none."""
    envelopes = dump(make(3000, [b"full"]))
    with ext4(tmp_path) as disk:
        data = disk / "data"
        for kibibytes in (100, 150, 200, 256, 300, 400):
            leave(disk, kibibytes << 10)
            call("archive", "import", "--datadir", data, stdin=envelopes, check=1)
            told = capfd.readouterr().err.splitlines()[-1]
            assert told == f"wakumail archive: {data / 'archive'}: the disk is full"
            free(disk)
            (data / "archive" / "data.mdb").unlink()
        call("archive", "import", "--datadir", data, stdin=envelopes)


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_an_export_to_a_full_disk_names_the_file(
    filled: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], form: tuple[str, ...]
) -> None:
    with small_tmpfs(tmp_path) as disk:
        fill(disk)
        call("archive", "export", "--datadir", filled, *form, disk / "dump", check=1)
        told = capfd.readouterr().err
        assert f"wakumail archive: {disk / 'dump'}: No space left on device\n" in told
        assert "resume with" not in told


def test_a_backup_to_a_full_disk_names_the_file(
    filled: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with small_tmpfs(tmp_path) as disk:
        to = disk / "copy"
        to.mkdir()
        fill(disk)
        call("archive", "backup", "--datadir", filled, to, check=1)
        error = f"wakumail archive: {to / 'backup.json'}: No space left on device\n"
        assert capfd.readouterr().err == error
        assert os.listdir(to) == ["writers"]
