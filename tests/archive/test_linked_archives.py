"""Archives on another disk than their data directory: behind a symbolic link, or mounted."""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archive_model import DAY, START, batch_of, everything, make, sorted_down
from tests.support.commands import call
from tests.support.full_tmpfs import SIZE, small_tmpfs
from tests.support.independent import check_sound
from tests.support.mounts import mounted
from wakumail.archive.archive import Archive
from wakumail.archive.datadir import Datadir
from wakumail.archive.outlook import look_at
from wakumail.archive.retention import Retention

STORED = make(100)
OLD = START - 100 * DAY
OTHER = pwd.getpwnam("nobody").pw_uid


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Another disk."""
    with small_tmpfs(tmp_path) as disk:
        yield disk


@pytest.fixture
def datadir(tmp_path: Path) -> Datadir:
    made = Datadir(tmp_path / "data")
    made.make()
    return made


def fill(directory: Path) -> None:
    """Make an archive of which a compaction makes a smaller one."""
    with Archive(directory) as archive:
        archive.append([batch_of(STORED)])
        archive.append([batch_of(make(2000, first=1000, start=OLD, size=500))])
        while archive.prune(OLD + 10 * DAY, limit=1000).more:
            pass


def link_file(datadir: Datadir, disk: Path) -> None:
    datadir.archive.mkdir()
    (datadir.archive / "data.mdb").symlink_to(disk / "real.mdb")


def link_folder(datadir: Datadir, disk: Path) -> None:
    (disk / "real").mkdir()
    datadir.archive.symlink_to(disk / "real")


@pytest.fixture(params=[link_file, link_folder])
def linked(request: pytest.FixtureRequest, datadir: Datadir, disk: Path) -> Datadir:
    """A data directory whose archive will be on the other disk."""
    request.param(datadir, disk)
    return datadir


def real_file(disk: Path) -> Path:
    """The only file on the disk, but for the lock file."""
    [found] = (path for path in disk.rglob("*") if path.is_file() and path.name != "lock.mdb")
    return found


def holds_what_was_stored(directory: Path) -> bool:
    with Archive(directory, readonly=True) as archive:
        return everything(archive) == sorted_down(STORED)


def test_compact_replaces_the_file_behind_a_link(linked: Datadir, disk: Path) -> None:
    fill(linked.archive)
    links = [path for path in (linked.archive, linked.archive / "data.mdb") if path.is_symlink()]
    os.chown(real_file(disk), OTHER, OTHER)
    size = real_file(disk).stat().st_size
    call("archive", "compact", "--datadir", linked.path)
    assert all(path.is_symlink() for path in links)
    assert real_file(disk).stat().st_size < size
    assert real_file(disk).stat().st_uid == OTHER
    assert holds_what_was_stored(linked.archive)


def test_root_replaces_no_file_of_others_behind_a_link(datadir: Datadir, disk: Path) -> None:
    """The owner of the data directory may have put the link there."""
    link_file(datadir, disk)
    (disk / "real.mdb").write_text("of root")
    os.chown(datadir.path, OTHER, OTHER)
    with datadir.alone(), datadir.scratch() as made:
        Archive(made).close()
        with pytest.raises(PermissionError, match="does not belong to the owner") as raised:
            datadir.replace_archive(made)
    assert raised.value.filename == str(disk / "real.mdb")
    assert real_file(disk).read_text() == "of root"


def test_backup_and_restore_write_behind_a_link(
    linked: Datadir, disk: Path, tmp_path: Path
) -> None:
    fill(tmp_path / "original" / "archive")
    call("archive", "backup", "--datadir", tmp_path / "original", tmp_path / "copy")
    call("archive", "restore", tmp_path / "copy", "--datadir", linked.path)
    assert check_sound(linked.archive) == len(STORED)
    assert real_file(disk).stat().st_size == (linked.archive / "data.mdb").stat().st_size


def test_compact_and_restore_into_a_mounted_archive(datadir: Datadir, tmp_path: Path) -> None:
    fill(tmp_path / "original" / "archive")
    call("archive", "backup", "--datadir", tmp_path / "original", tmp_path / "copy")
    with mounted("tmpfs", "tmpfs", f"size={SIZE}", datadir.archive):
        call("archive", "restore", tmp_path / "copy", "--datadir", datadir.path)
        call("archive", "compact", "--datadir", datadir.path)
        assert holds_what_was_stored(datadir.archive)
        assert sorted(os.listdir(datadir.archive)) == ["data.mdb", "lock.mdb"]


def test_a_sweep_leaves_the_copies_of_others_on_the_disk(datadir: Datadir, disk: Path) -> None:
    link_file(datadir, disk)
    for name in ("real.mdb", "other.mdb"):
        (disk / f"copying.{name}").mkdir()
    with datadir.alone():
        assert os.listdir(disk) == ["copying.other.mdb"]


def test_the_room_told_is_that_of_the_disk_behind_a_link(datadir: Datadir, disk: Path) -> None:
    link_file(datadir, disk)
    fill(datadir.archive)
    with Archive(datadir.archive, readonly=True) as archive:
        assert look_at(archive, Retention(0, 0, sort_days=False), 0).outlook.disk_free < SIZE
