"""A data directory: who holds it is named, and what root makes belongs to its owner."""

import os
import pwd
from pathlib import Path

import pytest

from wakumail.archive.archive import Archive
from wakumail.archive.datadir import Datadir, DatadirInUse

OWNER = pwd.getpwnam("nobody").pw_uid

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def datadir(tmp_path: Path) -> Datadir:
    made = Datadir(tmp_path / "data")
    made.make()
    return made


@pytest.fixture
def of_another(datadir: Datadir) -> Datadir:
    """A data directory of another user, which root works on."""
    os.chown(datadir.path, OWNER, OWNER)
    return datadir


def owners(directory: Path) -> set[int]:
    return {path.lstat().st_uid for path in directory.rglob("*")}


def test_who_needs_it_alone_is_told_of_a_server(datadir: Datadir) -> None:
    with datadir.serving():
        for hold in (datadir.alone, datadir.serving):
            with pytest.raises(DatadirInUse, match="by a running server: stop it first"), hold():
                pass


def test_a_command_that_ends_by_itself_is_waited_for(datadir: Datadir) -> None:
    with datadir.alone():
        for hold in (datadir.alone, datadir.serving, datadir.writing):
            with pytest.raises(DatadirInUse, match="command: wait until it ends"), hold():
                pass
    with datadir.writing(), pytest.raises(DatadirInUse, match="command"), datadir.alone():
        pass


@needs_root
def test_what_root_writes_belongs_to_the_owner(of_another: Datadir) -> None:
    with of_another.alone(), of_another.scratch() as scratch:
        assert (of_another.path / "writers").owner() == "nobody"  # a server may start meanwhile
        Archive(scratch).close()
        of_another.replace_archive(scratch)
    assert owners(of_another.path) == {OWNER}


@needs_root
def test_files_of_others_stay_theirs(of_another: Datadir, tmp_path: Path) -> None:
    """The owner may have put links to them there."""
    for name in ("linked", "named"):
        (tmp_path / name).touch()
    (of_another.path / "symbolic").symlink_to(tmp_path / "linked")
    (of_another.path / "hard").hardlink_to(tmp_path / "named")
    with of_another.writing():
        pass
    assert (tmp_path / "linked").stat().st_uid == (tmp_path / "named").stat().st_uid == 0


@needs_root
def test_what_root_only_reads_is_open_to_the_owner_meanwhile(of_another: Datadir) -> None:
    with of_another.writing():
        Archive(of_another.archive).close()
    (of_another.archive / "lock.mdb").unlink()
    with Archive(of_another.archive, readonly=True):
        assert OWNER in owners_of_shared_memory()
    assert owners(of_another.path) == {OWNER}


def owners_of_shared_memory() -> set[int]:
    """The users of the segments that this process made (sysvipc(5))."""
    titles, *lines = Path("/proc/sysvipc/shm").read_text().splitlines()
    segments = [dict(zip(titles.split(), map(int, line.split()), strict=False)) for line in lines]
    return {each["uid"] for each in segments if each["cpid"] == os.getpid()}
