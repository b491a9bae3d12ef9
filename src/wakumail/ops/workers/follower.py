"""The follower: reads from the archive what other workers have committed, for our own peers."""

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
"""Bytes of envelopes that are read at a time: a millisecond of the loop, which takes them in."""

RECENT = 60
"""Seconds: what was created since then is read when a worker begins, for it may still be live."""

RECENT_ENVELOPES = 100_000
"""Of those at most, the newest."""

LIVE = Rules(min_pow=0.0, min_pow_large=0.0, max_envelope=(1 << 32) - 1)
"""Nothing but the time counts against what has been judged before."""

Take = Callable[[Batch], None]
"""Takes what is in the archive; what is live of it is accepted in the batch."""


class Follower:
    """Hands what is new in an archive to `take`, but for what this process has committed itself.

    What other workers have noted in `judgements` is not hashed again. One read at a time, in a
    thread, each when somebody says that there is something.
    """

    def __init__(self, archive: Archive, judgements: Judgements, take: Take) -> None:
        self._archive = archive
        self._judgements = judgements
        self._take = take
        self._next = archive.stat().next_sequence
        self._own: deque[tuple[int, int]] = deque()
        """Sequences that we committed, and are not past: from, to before."""
        self._loop = asyncio.get_running_loop()
        self._thread = Threads(1, "archive-follower")
        self._rung = False
        self._closing = False
        self._reading = self._loop.create_task(self._begin())

    def committed(self, appended: Appended) -> None:
        """Pass over what this process has committed."""
        first, end = appended.next_sequence - appended.stored, appended.next_sequence
        if self._own and self._own[-1][1] == first:
            first, _ = self._own.pop()
        self._own.append((first, end))

    def wake(self) -> None:
        """Somebody has committed something."""
        self._rung = True
        if self._reading.done() and not self._closing:
            self._reading = self._loop.create_task(self._follow())

    async def close(self) -> None:
        """Read nothing more."""
        self._closing = True
        await self._reading
        self._thread.close()

    async def _begin(self) -> None:
        """Read what a worker before us may have left untold; only then what comes now."""
        try:
            await self._read_recent(int(time.time()))
        except (ArchiveError, RlpError) as error:
            log.error("what was archived of late cannot be read: %s", error)
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
        while self._rung and not self._closing:
            self._rung = False
            try:
                while await self._read() and not self._closing:
                    pass
            except ArchiveError as error:
                log.error("what other workers archived cannot be read: %s", error)

    async def _read(self) -> bool:
        """One piece; whether there may be more."""
        while self._own and self._own[0][1] <= self._next:
            self._own.popleft()
        if self._own and self._own[0][0] <= self._next:
            _, self._next = self._own.popleft()
        until = self._own[0][0] if self._own else MAX_SEQUENCE
        batch, following = await self._thread.run(partial(self._arrivals, self._next, until))
        if batch is not None:
            self._take(batch)
        if following == self._next and until < MAX_SEQUENCE:
            following = until  # All that came before our own commit is there, or gone again.
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
