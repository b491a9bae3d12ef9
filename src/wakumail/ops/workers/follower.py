"""The follower: reads the commits of other workers from the archive, for our own peers."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from wakumail.archive.archive import MAX_SEQUENCE, Appended, Archive, PageState, Query
from wakumail.base.threads import Threads
from wakumail.errors import ArchiveError, RlpError
from wakumail.waku.envelope import Batch, Rules, judge
from wakumail.waku.judgements import Judgements

log = logging.getLogger(__name__)

READ_SIZE = 1 << 20
"""Bytes of envelopes read at a time; the loop takes them in within a millisecond."""

RECENT = 60
"""Seconds: a new worker reads envelopes up to this age, for they may still be live."""

RECENT_ENVELOPES = 100_000
"""Most recent envelopes that a new worker reads, the newest first."""

LIVE = Rules(min_pow=0.0, min_pow_large=0.0, max_envelope=(1 << 32) - 1)
"""For envelopes that another worker has judged: only their times are checked again."""

Take = Callable[[Batch], None]
"""Takes envelopes of the archive; those that are live are accepted in the batch."""


class Follower:
    """Hands new envelopes of an archive to `take`, except those that this process committed.

    A commit of ours that is read before `committed` tells of it is handed on too: its envelopes are
    known to the one who takes it. Envelopes that other workers have noted in `judgements` are not
    hashed again. A thread reads, one read at a time, when another worker has woken us.
    """

    def __init__(self, archive: Archive, judgements: Judgements, take: Take) -> None:
        self._archive = archive
        self._judgements = judgements
        self._take = take
        self._next = archive.stat().next_sequence
        self._own: deque[tuple[int, int]] = deque()
        """Ranges of sequences that we committed and have not passed yet: first, end."""
        self._loop = asyncio.get_running_loop()
        self._thread = Threads(1, "archive-follower")
        self._woken = False
        self._closing = False
        self._reading = self._loop.create_task(self._begin())

    def committed(self, appended: Appended) -> None:
        """Skip a commit of this process."""
        first, end = appended.next_sequence - appended.stored, appended.next_sequence
        if self._own and self._own[-1][1] == first:
            first, _ = self._own.pop()
        self._own.append((first, end))

    def wake(self) -> None:
        """Read: another worker has committed."""
        self._woken = True
        if self._reading.done() and not self._closing:
            self._reading = self._loop.create_task(self._follow())

    async def close(self) -> None:
        """Stop reading."""
        self._closing = True
        await self._reading
        self._thread.close()

    async def _begin(self) -> None:
        """Read the envelopes that a worker before us may not have handed on, then the new ones."""
        try:
            await self._read_recent(int(time.time()))
        except (ArchiveError, RlpError) as error:
            log.error("recent envelopes cannot be read from the archive: %s", error)
        await self._follow()

    async def _read_recent(self, now: int) -> None:
        query, position, left = Query(now - RECENT, now + RECENT), b"", RECENT_ENVELOPES
        while left and not self._closing:
            job = self._archive.page_job(query, position, limit=left, max_bytes=READ_SIZE)
            page = await self._thread.run(job.do)
            self._take(judge(page.packet, LIVE, now))
            position, left = page.position, left - page.count
            if page.state is PageState.EXHAUSTED:
                break

    async def _follow(self) -> None:
        while self._woken and not self._closing:
            self._woken = False
            try:
                while await self._read() and not self._closing:
                    pass
            except ArchiveError as error:
                log.error("envelopes of other workers cannot be read from the archive: %s", error)

    async def _read(self) -> bool:
        """Read one piece; true if there may be more."""
        while self._own and self._own[0][1] <= self._next:
            self._own.popleft()
        if self._own and self._own[0][0] <= self._next:
            _, self._next = self._own.popleft()
        until = self._own[0][0] if self._own else MAX_SEQUENCE
        batch, following = await self._thread.run(partial(self._arrivals, self._next, until))
        if batch is not None:
            self._take(batch)
        if following == self._next and until < MAX_SEQUENCE:
            following = until  # All envelopes before our own commit were read, or are deleted.
        self._next, moved = following, following > self._next
        return moved

    def _arrivals(self, sequence: int, until: int) -> tuple[Batch | None, int]:
        envelopes, following = self._archive.follow(sequence, max_bytes=READ_SIZE, until=until)
        batch = None
        if envelopes:
            try:
                batch = self._judgements.judge(envelopes, following, LIVE, int(time.time()))
            except RlpError as error:
                log.error("envelopes in the archive cannot be read: %s", error)
        return batch, following
