"""The meta pages: a file that would show an older state as the last one is not opened."""

import itertools
import shutil
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.archive_model import batch_of, make, python
from tests.support.damaged_files import PAGE
from wakumail.archive.archive import Archive
from wakumail.archive.independent import verify_independently
from wakumail.archive.meta_pages import check_meta_pages
from wakumail.archive.page_check import check_pages
from wakumail.cli.command_line import main
from wakumail.errors import ArchiveDamaged

COMMIT_AT = 144
"""The place of the number of the commit in a meta page."""


def commits(data: bytes | bytearray) -> list[int]:
    return [struct.unpack_from("<Q", data, start + COMMIT_AT)[0] for start in (0, PAGE)]


def swap(data: bytearray) -> None:
    data[: 2 * PAGE] = data[PAGE : 2 * PAGE] + data[:PAGE]


def copy_old_over_new(data: bytearray) -> None:
    older, newer = sorted((0, PAGE), key=lambda start: commits(data)[start // PAGE])
    data[newer : newer + PAGE] = data[older : older + PAGE]


def copy_new_over_old(data: bytearray) -> None:
    older, newer = sorted((0, PAGE), key=lambda start: commits(data)[start // PAGE])
    data[older : older + PAGE] = data[newer : newer + PAGE]


def set_commit(which: Callable[[list[int]], int], to: Callable[[int], int]) -> Callable[..., None]:
    """Give the page of the newer (max) or the older (min) commit another number."""

    def change(data: bytearray) -> None:
        found = commits(data)
        place = found.index(which(found))
        struct.pack_into("<Q", data, place * PAGE + COMMIT_AT, to(found[place]))

    return change


DAMAGES: dict[str, Callable[[bytearray], None]] = {
    "swapped": swap,
    "old over new": copy_old_over_new,
    "new over old": copy_new_over_old,
    "newer commit 0": set_commit(max, lambda commit: 0),
    "newer commit + 1": set_commit(max, lambda commit: commit + 1),
    "newer commit + 2": set_commit(max, lambda commit: commit + 2),
    "newer commit - 4": set_commit(max, lambda commit: commit - 4),
    "older commit + 4": set_commit(min, lambda commit: commit + 4),
    "older commit at the end": set_commit(min, lambda commit: 2**64 - 2 + commit % 2),
}


@pytest.fixture(scope="module", params=[6, 7], ids="{} commits".format)
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory. Its newest meta page is the first or the second."""
    path = tmp_path_factory.mktemp("sound")
    make_commits(path / "archive", request.param)
    return path


@pytest.fixture(params=DAMAGES)
def damaged(request: pytest.FixtureRequest, sound: Path, tmp_path: Path) -> Path:
    datadir = tmp_path / "data"
    shutil.copytree(sound, datadir)
    file = datadir / "archive" / "data.mdb"
    data = bytearray(file.read_bytes())
    DAMAGES[request.param](data)
    file.write_bytes(data)
    return datadir


def make_commits(path: Path, count: int) -> None:
    """An archive of so many commits; the first makes its tables."""
    with Archive(path, sync=False) as archive:
        for number in range(count - 1):
            archive.append([batch_of(make(20, first=20 * number))])
    assert max(commits((path / "data.mdb").read_bytes())) == count


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7])
def test_what_commits_leave_behind_is_sound(tmp_path: Path, count: int) -> None:
    make_commits(tmp_path, count)
    assert check_pages(tmp_path) == (0, [])
    assert verify_independently(tmp_path).problems == []
    with Archive(tmp_path, readonly=True) as archive:
        archive.copy(tmp_path / "copy")
    assert check_pages(tmp_path / "copy") == (0, [])
    Archive(tmp_path / "copy").close()


def test_an_older_state_does_not_pass_for_the_last_one(
    damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = damaged / "archive" / "data.mdb"
    before = file.read_bytes()
    for readonly in (True, False):
        with pytest.raises(ArchiveDamaged, match="do not fit together"):
            Archive(damaged / "archive", readonly=readonly)
    for command in (["verify"], ["compact"], ["backup", str(tmp_path / "backup")], ["stat"]):
        assert main(["archive", command[0], "--datadir", str(damaged), *command[1:]]) == 1
        assert "meta pages" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_numbers_do_not_go_round(tmp_path: Path) -> None:
    make_commits(tmp_path, 1)
    data = bytearray((tmp_path / "data.mdb").read_bytes())
    assert commits(data) == [0, 1]
    set_commit(max, lambda commit: 2**64 - commit)(data)
    (tmp_path / "data.mdb").write_bytes(data)
    with pytest.raises(ArchiveDamaged, match="do not fit together"):
        Archive(tmp_path)
    assert check_pages(tmp_path)[0] >= 1


def test_the_other_readers_see_it(damaged: Path) -> None:
    count, problems = check_pages(damaged / "archive")
    opinion = verify_independently(damaged / "archive")
    assert count >= 1
    assert opinion.count >= 1
    for first in (problems[0], opinion.problems[0]):
        assert "the meta pages do not fit together" in first


OPEN_OFTEN = """
import sys
from wakumail.archive.archive import Archive
for _ in range(300):
    Archive(sys.argv[1], readonly=True).close()
"""


def test_commits_between_two_readings_are_no_damage(tmp_path: Path) -> None:
    ended = threading.Event()
    with Archive(tmp_path, sync=False) as archive, ThreadPoolExecutor(1) as pool:

        def commit_until_the_end() -> None:
            for number in itertools.count():
                if ended.is_set():
                    return
                archive.append([batch_of(make(1, first=number))])

        committing = pool.submit(commit_until_the_end)
        try:
            python(OPEN_OFTEN, tmp_path)
            for _ in range(300):
                assert check_meta_pages(tmp_path) == []
        finally:
            ended.set()
        committing.result()
