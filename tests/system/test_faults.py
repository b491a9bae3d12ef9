"""Faults of the disk and what comes of them, as a table, over a real server on a faulty disk.

Nothing that was confirmed is lost, nothing that was refused is confirmed, requests go on, and the
server recovers by itself.
"""

import asyncio
import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.archive_model import add_free_pages, batch_of
from tests.support.envelopes import make
from tests.support.faults import CALLS, FOREVER, FaultyDisk, build, faults
from tests.support.independent import arrival_hashes, check_sound
from tests.support.patience import eventually, until
from tests.support.processes import Server
from wakumail.archive.archive import Archive
from wakumail.mail.client import MailPeer, connect

TOPICS = [b"top" + bytes([number]) for number in range(3)]


@dataclass(frozen=True)
class Fault:
    """A call that fails, how, and how often; 0: it comes out short."""

    call: str
    error: int
    times: int = FOREVER
    after: int = 0
    cause: str = ""
    """The call that has to fail before this one is made; it comes out short."""
    told: str = ""
    """Words of the log."""

    def __str__(self) -> str:
        how = errno.errorcode.get(self.error, "short")
        often = "lasting" if self.times == FOREVER else f"{self.times} after {self.after}"
        return f"{self.call} {how} {often}"

    def begin(self, disk: FaultyDisk) -> None:
        if self.cause:
            disk.shorten(self.cause)
        if self.error:
            disk.fail(self.call, self.error, after=self.after, times=self.times)
        else:
            disk.shorten(self.call, after=self.after, times=self.times)


FAULTS = [
    Fault("fdatasync", errno.EIO, times=1),
    Fault("fdatasync", errno.EIO),
    Fault("fdatasync", errno.ENOSPC, times=2),
    Fault("pages", errno.EIO, times=1),
    Fault("pages", errno.EIO, times=2, after=1),
    Fault("pages", errno.EIO),
    Fault("pages", errno.ENOSPC),
    Fault("pages", 0, times=2),
    Fault("meta", errno.EIO, times=1),
    Fault("meta", errno.EIO, times=2),
    Fault("meta", errno.EIO),
    Fault("meta", errno.ENOSPC),
    Fault("meta", 0, times=1),
    Fault("fallocate", errno.ENOSPC, cause="pages", told="the disk is full"),
    Fault("fallocate", errno.EOPNOTSUPP, cause="pages", told="Input/output error"),
]
"""Of the calls that a server makes of its data file while it works."""

SHARED = [fault for fault in FAULTS if fault.error == errno.EIO and fault.times in (1, FOREVER)]
CASES = [(fault, 1) for fault in FAULTS] + [(fault, 2) for fault in SHARED]
"""A fault, and the workers of the server."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("library"))


@pytest.fixture
def disk(tmp_path: Path, library: Path) -> Iterator[FaultyDisk]:
    with faults(library, tmp_path) as disk:
        yield disk


async def history(peer: MailPeer) -> set[bytes]:
    pages = peer.history(lower=int(time.time()) - 3600, topics=TOPICS)
    return {envelope.hash async for page in pages for envelope in page.envelopes}


@pytest.mark.parametrize(
    ("fault", "workers"), CASES, ids=[f"{fault}, {workers} workers" for fault, workers in CASES]
)
def test_a_fault_and_its_outcome(
    tmp_path: Path, disk: FaultyDisk, fault: Fault, workers: int
) -> None:
    before, during, after = (make(60, TOPICS, seed=seed) for seed in (1, 2, 3))
    flags = ("--min-pow", "0", "--workers", workers)
    data = tmp_path / "data" / "archive" / "data.mdb"
    server = Server(tmp_path / "data", *flags, environment=disk.environment)

    async def work() -> None:
        async with connect(server.enode) as peer:
            await peer.post([envelope.rlp for envelope in before])
            fault.begin(disk)
            waiting = asyncio.create_task(peer.post([envelope.rlp for envelope in during]))
            if not fault.after:
                await eventually(lambda: disk.failed(fault.call) > 0)
            assert {envelope.hash for envelope in before} <= await history(peer)
            if fault.times == FOREVER:
                tried = disk.failed(fault.call)
                await eventually(lambda: disk.failed(fault.call) > tried)
                size = data.stat().st_size
                tried = disk.failed(fault.call)
                await eventually(lambda: disk.failed(fault.call) > tried + 1)
                assert data.stat().st_size == size
                assert not waiting.done()
                assert {envelope.hash for envelope in before} <= await history(peer)
                await eventually(lambda: fault.told in server.log.read_text())
                disk.mend()
            assert (await waiting).confirmed == len(during)
            assert (await peer.post([envelope.rlp for envelope in after])).confirmed == len(after)
            expected = {envelope.hash for envelope in before + during + after}
            assert await history(peer) == expected

    with server:
        asyncio.run(work())
        if disk.failed(fault.call):  # a log line is written a moment later
            until(lambda: "takes writes again" in server.log.read_text())
        assert "Traceback" not in server.log.read_text()
    # Killed now: what was confirmed is there for a reader that shares no code with the writer.
    assert check_sound(data.parent) == 180
    assert len(arrival_hashes(data.parent)) == 180


@pytest.mark.parametrize("intact", [True, False])
def test_a_start_without_room_for_the_pages_that_a_file_lacks(
    tmp_path: Path, disk: FaultyDisk, intact: bool
) -> None:
    """An intact file may lack free pages at its end, which the start allocates."""
    server = Server(tmp_path / "data", environment=disk.environment)
    data = tmp_path / "data" / "archive" / "data.mdb"
    with Archive(data.parent) as archive:
        archive.append([batch_of(make(60, TOPICS))])
    if intact:
        add_free_pages(data.parent)
    size = data.stat().st_size - 9 * 4096
    os.truncate(data, size)
    disk.fail("fallocate", errno.ENOSPC)
    with pytest.raises(AssertionError, match="the disk is full" if intact else "is torn"):
        server.start()
    assert data.stat().st_size == size
    disk.mend()
    if intact:
        with server:
            assert server.stop() == 0
        assert check_sound(data.parent) == 60


def test_calls_that_are_not_of_the_data_file_are_left_alone(
    tmp_path: Path, disk: FaultyDisk
) -> None:
    for call in CALLS:
        disk.fail(call, errno.EIO)
    (tmp_path / "other").mkdir()
    code = f"import os; os.fdatasync(os.open({str(tmp_path / 'file')!r}, os.O_CREAT | os.O_RDWR))"
    assert os.spawnvpe(os.P_WAIT, "python3", ["python3", "-c", code], dict(disk.environment)) == 0
    assert disk.seen("fdatasync") == 0
