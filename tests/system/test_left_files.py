"""Commands and servers that are killed, or run on a full disk, leave no file for ever."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import call
from tests.support.envelopes import dump, make
from tests.support.full_tmpfs import fill, free, small_tmpfs
from tests.support.processes import Server

KILLED_AT_A_RENAME = """
import os, signal, sys
from wakumail.cli.command_line import main

rename, left = os.replace, int(sys.argv[1])

def replace(source, target):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)

os.replace = replace
sys.exit(main(sys.argv[2:]))
"""


def is_killed_at(number: int, *arguments: object) -> bool:
    """Run a command that is killed before it renames for the n-th time; False if it ends before."""
    command = [sys.executable, "-c", KILLED_AT_A_RENAME, str(number), *map(str, arguments)]
    code = subprocess.run(command, check=False, capture_output=True).returncode
    assert code in (0, -signal.SIGKILL)
    return code != 0


def files(directory: Path) -> set[str]:
    """The files below a directory, but for the lock file that each opening of an archive makes."""
    found = (path for path in directory.rglob("*") if not path.is_dir())
    return {str(path.relative_to(directory)) for path in found if path.name != "lock.mdb"}


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A file of settings, whose data directory has an archive and an identity."""
    data, password = tmp_path / "data", tmp_path / "secret"
    call("archive", "import", "--datadir", data, stdin=dump(make(10, [b"kept"])))
    call("key", "new", data / "nodekey")
    (data / "static-nodes.json").write_text("[]")
    password.write_text("secret\n")
    path = tmp_path / "wakumail.toml"
    path.write_text(f'datadir = "{data}"\npassword_file = "{password}"\n')
    return path


def test_a_killed_backup_of_an_identity_leaves_nothing_for_ever(
    settings: Path, tmp_path: Path
) -> None:
    to = tmp_path / "copy"
    backup = ("archive", "backup", "--config", settings, "--identity", to)
    call(*backup)
    whole, number = files(to), 1
    while is_killed_at(number, *backup):
        number += 1
    assert number > len(files(to / "identity"))
    assert files(to) == whole
    assert is_killed_at(number - 1, *backup)
    assert files(to) > whole
    call("archive", "backup", "--config", settings, to)
    assert files(to) == whole


def test_a_killed_restore_leaves_nothing_for_ever(settings: Path, tmp_path: Path) -> None:
    to, restored, clean = tmp_path / "copy", tmp_path / "restored", tmp_path / "clean"
    call("archive", "backup", "--config", settings, "--identity", to)
    call("archive", "restore", to, "--datadir", clean)
    restore = ("archive", "restore", to, "--datadir", restored)
    number = 1
    while is_killed_at(number, *restore):
        number += 1
    assert number > len(files(to / "identity"))
    assert files(restored) == files(clean)


def test_a_server_removes_what_a_killed_restore_left(settings: Path, tmp_path: Path) -> None:
    to, restored = tmp_path / "copy", tmp_path / "restored"
    call("archive", "backup", "--config", settings, "--identity", to)
    for number in (2, 3, 4):
        assert is_killed_at(number, "archive", "restore", to, "--datadir", restored)
    with Server(restored):
        hidden = [path.name for path in restored.iterdir() if path.name.startswith(".")]
        assert hidden == []


def test_starts_on_a_full_disk_name_the_file_and_leave_nothing(tmp_path: Path) -> None:
    with small_tmpfs(tmp_path) as disk:
        data = disk / "data"
        data.mkdir()
        server = Server(data)
        server.log = tmp_path / "server.log"
        fill(disk)
        for _ in range(2):
            with pytest.raises(AssertionError):
                server.start()
        error = f"wakumail serve: {data / 'nodekey'}: No space left on device\n"
        assert server.log.read_text() == error * 2
        assert not [name for name in os.listdir(data) if name.startswith(".")]
        free(disk)
        with server:
            assert "nodekey" in os.listdir(data)
