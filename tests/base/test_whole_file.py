import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.full_tmpfs import fill, small_tmpfs
from wakumail.base.whole_file import create_file, replace_file, sweep_folder, sweep_unfinished

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from wakumail.base import whole_file

os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
getattr(whole_file, sys.argv[1])(Path(sys.argv[2]), b"unfinished")
"""


def kill_while_writing(function: str, path: Path) -> None:
    """Let a process be killed in a call of this function."""
    command = [sys.executable, "-c", KILLED_WHILE_WRITING, function, str(path)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"old and long", b"new"):
        replace_file(path, content)
        assert path.read_bytes() == content
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_created_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    create_file(path, b"first")
    with pytest.raises(FileExistsError) as raised:
        create_file(path, b"second")
    assert raised.value.filename == str(path)
    assert path.read_bytes() == b"first"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_replacement_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(OSError, match="folder") as raised:
        replace_file(path, b"new")
    assert (raised.value.filename, raised.value.filename2) == (str(path), None)
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError):
        replace_file(tmp_path / "missing" / "file", b"new")


@pytest.mark.parametrize("write", [create_file, replace_file])
def test_a_full_disk_is_told_by_the_name_of_the_file(
    tmp_path: Path, write: Callable[[Path, bytes], None]
) -> None:
    with small_tmpfs(tmp_path) as disk:
        path = disk / "file"
        fill(disk)
        for _ in range(2):
            with pytest.raises(OSError, match="No space left") as raised:
                write(path, b"new")
            assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(path))
        assert [left.name for left in disk.iterdir()] == ["filling"]


@pytest.mark.parametrize("function", ["create_file", "replace_file"])
def test_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path, function: str) -> None:
    path = tmp_path / "file"
    for _ in range(2):
        kill_while_writing(function, path)
        assert len(list(tmp_path.iterdir())) == 1
    replace_file(path, b"new")
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"new"


def test_what_a_killed_writer_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".of-another").touch()
    for name in ("one", "two"):
        kill_while_writing("replace_file", tmp_path / name)
    sweep_unfinished(tmp_path / "one")
    assert sorted(os.listdir(tmp_path)) == [".of-another", ".two.unfinished"]
    sweep_folder(tmp_path)
    assert os.listdir(tmp_path) == [".of-another"]


def test_a_sweep_leaves_what_a_living_process_writes(tmp_path: Path) -> None:
    living = tmp_path / ".file.unfinished"
    with living.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        sweep_unfinished(tmp_path / "file")
        sweep_folder(tmp_path)
        assert living.exists()
    sweep_folder(tmp_path)
    assert not living.exists()


def test_a_link_in_place_of_the_unfinished_file_is_not_followed(tmp_path: Path) -> None:
    """Somebody else may have put it there, in a folder that many may write to."""
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / ".file.unfinished").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match=r"\.file\.unfinished"):
        replace_file(tmp_path / "file", b"new")
    assert (tmp_path / "other").read_bytes() == b"other"


def test_many_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([number]) * 10_000 for number in range(64)]
    with ThreadPoolExecutor(8) as writers:
        done = [writers.submit(replace_file, path, content) for content in contents]
        while not all(each.done() for each in done):
            sweep_folder(tmp_path)
    for each in done:
        each.result()
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]
