"""The desk: what one peer asks of the archive does not hold the others, nor the end."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.support.envelopes import make
from tests.support.patience import asynchronous, eventually
from tests.support.syncing import NOW, batch_of
from wakumail.archive.archive import Archive
from wakumail.mail.sync import desk as desks
from wakumail.mail.sync.desk import DESK_THREADS, RUN_ROWS, Desk
from wakumail.mail.sync.items import Run
from wakumail.mail.sync.packets import MAX_ITEMS, Seek

ENVELOPES = make(200, [b"topi"], created=NOW, spread=1)
COSTLY = Seek(1, tuple(Run(0, 2**32 - 1, os.urandom(32)) for _ in range(MAX_ITEMS)))
"""Each run looks at all envelopes, and finds none."""


class CountingArchive(Archive):
    """An archive that counts the runs of seeks."""

    runs = 0

    def find(self, first: int, last: int, hashes: bytes) -> tuple[bytes, int]:
        self.runs += 1
        return super().find(first, last, hashes)


@asynccontextmanager
async def desk_of(path: Path) -> AsyncIterator[tuple[Desk, CountingArchive]]:
    with CountingArchive(path, sync=False) as archive:
        archive.append([batch_of(ENVELOPES)])
        yield Desk(archive), archive


@asynchronous
async def test_a_costly_seek_leaves_others_their_turn(tmp_path: Path) -> None:
    """As many as there are threads, of other peers, were there before."""
    async with desk_of(tmp_path) as (desk, _):
        seeks = [asyncio.ensure_future(desk.find(COSTLY)) for _ in range(DESK_THREADS)]
        await asyncio.sleep(0)
        assert await desk.missing(bytes(36)) == bytes(36)
        assert not any(seek.done() for seek in seeks)
        assert await asyncio.gather(*seeks) == [b""] * DESK_THREADS
        desk.close()


@asynchronous
async def test_the_end_waits_for_no_costly_seek(tmp_path: Path) -> None:
    async with desk_of(tmp_path) as (desk, archive):
        seek = asyncio.ensure_future(desk.find(COSTLY))
        await eventually(lambda: archive.runs)
        seek.cancel()
        with suppress(asyncio.CancelledError):
            await seek
        desk.close()
        assert archive.runs < MAX_ITEMS


@asynchronous
async def test_what_one_seek_looks_at_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first runs are found, however many follow."""
    cost = RUN_ROWS + len(ENVELOPES)
    monkeypatch.setattr(desks, "MAX_SEEK_ROWS", 10 * cost)
    last = max(ENVELOPES, key=lambda each: (each.created, each.hash))
    async with desk_of(tmp_path) as (desk, archive):
        wanted = Run(0, 2**32 - 1, last.hash)
        before, behind = COSTLY.runs[:9], COSTLY.runs[9:]
        found = last.created.to_bytes(4, "big") + last.hash
        assert await desk.find(Seek(1, (*before, wanted, *behind))) == found
        assert archive.runs == 10
        assert await desk.find(Seek(1, (*before, behind[0], wanted))) == b""
        desk.close()
