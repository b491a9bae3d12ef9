"""A FIFO, a socket, a device or a folder in place of a file: each command ends with a sentence."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.archive_model import batch_of, make
from tests.support.damaged_files import COMMANDS
from wakumail.archive.archive import Archive
from wakumail.archive.datadir import Datadir
from wakumail.archive.statusgo_storage import StatusGoError, open_leveldb
from wakumail.cli.command_line import main
from wakumail.errors import ArchiveError

KINDS: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "folder": os.mkdir,
    "socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
    "device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.fixture
def datadir(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    with Archive(path / "archive", sync=False) as archive:
        archive.append([batch_of(make(3))])
    return path


def replace(file: Path, kind: str) -> None:
    file.unlink(missing_ok=True)
    KINDS[kind](file)


@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_files_of_lmdb(datadir: Path, kind: str, name: str) -> None:
    replace(datadir / "archive" / name, kind)
    for readonly in (True, False):
        with pytest.raises(ArchiveError, match="is not a regular file"):
            Archive(datadir / "archive", readonly=readonly)


@pytest.mark.parametrize("command", [*COMMANDS, "import"])
def test_no_command_waits_for_the_other_end(
    datadir: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(datadir / "archive" / "data.mdb", "fifo")
    (tmp_path / "dump").touch()
    words = COMMANDS.get(command, [command, str(tmp_path / "dump")])
    more = [str(tmp_path / "copy")] if command == "backup" else []
    assert main(["archive", words[0], "--datadir", str(datadir), *words[1:], *more]) == 1
    told = capsys.readouterr().err
    assert "is not a regular file" in told
    assert "is empty" not in told


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["lock", "writers"])
def test_the_locks_of_a_data_directory(datadir: Path, kind: str, name: str) -> None:
    held = Datadir(datadir)
    replace(datadir / name, kind)
    with pytest.raises(OSError, match="is not a regular file"), held.serving():
        pass


def test_files_of_a_leveldb(tmp_path: Path) -> None:
    (tmp_path / "CURRENT").touch()
    os.mkfifo(tmp_path / "000005.ldb")
    with pytest.raises(StatusGoError, match=r"000005.ldb is not a regular file"):
        open_leveldb(tmp_path).__enter__()
