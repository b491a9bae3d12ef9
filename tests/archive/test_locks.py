"""The locks of an archive: in memory that its processes share, gone with the last of them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.archive_model import batch_of, make
from tests.support.independent import check_sound
from wakumail.archive.archive import Archive
from wakumail.errors import ArchiveError

HOLD = """
import sys
from wakumail.archive.archive import Archive
archive = Archive(sys.argv[1])
print(archive.stat().envelopes, flush=True)
sys.stdin.read()
"""


def hold(path: Path) -> subprocess.Popen[bytes]:
    """A process that has the archive open until it is killed."""
    command = [sys.executable, "-c", HOLD, str(path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() != b""
    return holder


def end(holder: subprocess.Popen[bytes]) -> None:
    holder.kill()
    assert holder.wait() == -signal.SIGKILL
    for pipe in (holder.stdin, holder.stdout):
        assert pipe is not None
        pipe.close()


def segments(process: int) -> set[str]:
    """The ids of the System V segments that a process made."""
    names, *lines = map(str.split, Path("/proc/sysvipc/shm").read_text().splitlines())
    maker, own = names.index("cpid"), names.index("shmid")
    return {line[own] for line in lines if line[maker] == str(process)}


def test_no_file_is_mapped_for_writing(tmp_path: Path) -> None:
    """A write to a mapped page ends the process if the file system has no block for it.

    On a full copy-on-write file system that is every page: see tests/system/test_copy_on_write.py.
    """
    with Archive(tmp_path) as archive:
        archive.append([batch_of(make(10))])
        assert archive.stat().envelopes == 10
        maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
        ours = {line[5]: line[1] for line in maps if len(line) > 5 and str(tmp_path) in line[5]}
        assert ours == {str(tmp_path / "data.mdb"): "r--s"}
        assert (tmp_path / "lock.mdb").stat().st_size == 0


def test_the_memory_ends_with_its_last_process(tmp_path: Path) -> None:
    others = segments(os.getpid())  # archives of this process that are open elsewhere
    first = hold(tmp_path)
    assert len(segments(first.pid)) == 1
    second = hold(tmp_path)
    assert segments(second.pid) == set()
    end(first)
    with Archive(tmp_path) as archive:  # what the dead one made still serves
        archive.append([batch_of(make(10))])
        assert segments(os.getpid()) <= others
        assert len(segments(first.pid)) == 1
    end(second)
    assert segments(first.pid) == set()
    with Archive(tmp_path) as archive:
        assert archive.stat().envelopes == 10
        assert len(segments(os.getpid()) - others) == 1


OPEN_AND_DIE = """
import os, signal, sys
from tests.support.archive_model import batch_of, make
from wakumail.archive.archive import Archive
number = int(sys.argv[2])
for round in range(12):
    with Archive(sys.argv[1], sync=False) as archive:
        first = (12 * number + round) * 5
        archive.append([batch_of(make(5, first=first))])
        print(first, flush=True)
        if round == 8 + number:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_that_come_and_die_share_the_locks(tmp_path: Path) -> None:
    """Each opening may be the first or join others that may be the last; the writers take turns."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AND_DIE, str(tmp_path), str(number)],
            stdout=subprocess.PIPE,
        )
        for number in range(4)
    ]
    stored = [int(line) for writer in writers for line in writer.communicate()[0].split()]
    assert [writer.returncode for writer in writers] == [-signal.SIGKILL] * 4
    assert len(stored) == 9 + 10 + 11 + 12
    with Archive(tmp_path) as archive:
        for first in stored:
            assert all(archive.contains(each.created, each.hash) for each in make(5, first=first))
    assert check_sound(tmp_path) == 5 * len(stored)


def test_who_shares_no_memory_is_refused(tmp_path: Path) -> None:
    """Another container on the same kernel, for example."""
    elsewhere = ["unshare", "--ipc", *([] if os.geteuid() == 0 else ["--user"])]
    if subprocess.run([*elsewhere, "true"], capture_output=True, check=False).returncode:
        pytest.skip("another IPC namespace is not permitted here")
    with Archive(tmp_path) as archive:
        command = [*elsewhere, sys.executable, "-c", HOLD, str(tmp_path)]
        done = subprocess.run(command, input=b"", capture_output=True, check=False)
        assert done.returncode == 1
        assert b"need the same IPC namespace" in done.stderr
        archive.append([batch_of(make(10))])


OPEN_WITH_LMDB = """
import lmdb, sys
with lmdb.open(sys.argv[1], max_dbs=16):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_another_program_and_we_refuse_each_other(tmp_path: Path) -> None:
    Archive(tmp_path).close()
    other = [sys.executable, "-c", OPEN_WITH_LMDB, str(tmp_path)]
    with subprocess.Popen(other, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"open\n"
        with pytest.raises(ArchiveError, match="by another program"):
            Archive(tmp_path)
        program.communicate()
    assert (tmp_path / "lock.mdb").stat().st_size > 0  # its table, which tells nothing from now on
    with Archive(tmp_path):
        done = subprocess.run(other, input=b"", capture_output=True, check=False)
        assert done.returncode == 1
        assert b"lmdb" in done.stderr
