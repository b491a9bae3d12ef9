"""Files that cannot be made or mapped once: whoever comes next finds a sound archive."""

import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archive_model import batch_of, everything, make, sorted_down
from tests.support.faults import FaultyDisk, build, faults
from wakumail.archive.archive import Archive

SMALL_MAP = 1 << 20
STORED = make(2000, size=1000)
"""More than a small map holds."""

WRITER = """
import sys
from tests.archive.test_failing_files import SMALL_MAP, STORED
from tests.support.archive_model import batch_of, everything, sorted_down
from wakumail.archive.archive import Archive
from wakumail.errors import ArchiveError
with Archive(sys.argv[1], sync=False, map_size=SMALL_MAP) as archive:
    refused, at = 0, 0
    while at < len(STORED):
        try:
            archive.append([batch_of(STORED[at : at + 100])])
        except ArchiveError:
            refused += 1
            try:
                everything(archive)
            except ArchiveError:
                refused += 1
        else:
            at += 100
    assert everything(archive) == sorted_down(STORED)
    print(refused)
"""
READER = """
import sys
from tests.archive.test_failing_files import SMALL_MAP, STORED
from tests.support.archive_model import everything, sorted_down
from wakumail.archive.archive import Archive
from wakumail.errors import ArchiveError
with Archive(sys.argv[1], readonly=True, map_size=SMALL_MAP) as archive:
    print(flush=True)
    sys.stdin.readline()
    refused = 0
    while True:
        try:
            assert everything(archive) == sorted_down(STORED)
            break
        except ArchiveError:
            refused += 1
    print(refused)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("library"))


@pytest.fixture
def disk(tmp_path: Path, library: Path) -> Iterator[FaultyDisk]:
    with faults(library, tmp_path) as disk:
        yield disk


@pytest.mark.parametrize("times", [1, 3])
def test_a_writer_whose_map_cannot_grow_goes_on_once_it_can(
    tmp_path: Path, disk: FaultyDisk, times: int
) -> None:
    disk.fail("map", errno.ENOMEM, after=1, times=times)
    command = [sys.executable, "-c", WRITER, str(tmp_path / "archive")]
    done = subprocess.run(command, env=disk.environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{times}\n".encode(), b"")
    assert disk.failed("map") == times


def test_a_reader_whose_map_cannot_grow_goes_on_once_it_can(
    tmp_path: Path, disk: FaultyDisk
) -> None:
    with Archive(tmp_path / "archive", sync=False) as archive:
        archive.append([batch_of(STORED[:10])])
        command = [sys.executable, "-c", READER, str(tmp_path / "archive")]
        with subprocess.Popen(
            command, env=disk.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as reader:
            assert reader.stdout is not None
            reader.stdout.readline()
            archive.append([batch_of(STORED[10:])])
            disk.fail("map", errno.ENOMEM, times=2)
            told, _ = reader.communicate(b"\n")
        assert (reader.returncode, told) == (0, b"2\n")


@pytest.mark.parametrize("how", ["short", "full", "broken"])
def test_a_file_that_was_half_made_is_made_anew(tmp_path: Path, disk: FaultyDisk, how: str) -> None:
    """A disk with room for one page was enough for a file that nothing would open again."""
    if how == "short":
        disk.shorten("meta", times=1)
    else:
        disk.fail("meta", errno.ENOSPC if how == "full" else errno.EIO, times=1)
    code = "import sys; from wakumail.archive.archive import Archive; Archive(sys.argv[1]).close()"
    command = [sys.executable, "-c", code, str(tmp_path / "archive")]
    done = subprocess.run(command, env=disk.environment, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"wakumail.errors.Archive" in done.stderr
    stored = STORED[:10]
    with Archive(tmp_path / "archive") as archive:
        archive.append([batch_of(stored)])
        assert everything(archive) == sorted_down(stored)
