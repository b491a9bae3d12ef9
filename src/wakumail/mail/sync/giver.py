"""The giver: sends a peer the envelopes that it wants."""

import asyncio
from collections import deque

from wakumail.base.rlp import join_list
from wakumail.mail.sync.desk import Desk
from wakumail.mail.sync.items import ITEM_SIZE
from wakumail.mail.sync.packets import Envelopes, Found, Seek, SyncError, Want
from wakumail.mail.sync.tally import Tally
from wakumail.mail.sync.wire import Wire

GIVEN_BYTES = 256 << 10
"""Bytes of envelopes in one packet, unless one alone is larger. Its receiver judges it at once, and
needs some milliseconds."""

MAX_WANTS = 4
"""Wants of one side that may be unanswered."""


class WantFlood(SyncError):
    """The peer wants more at a time than it may."""

    counter = "sync_wants_excess"


class Giver:
    """Answers the wants of one peer, in their order."""

    def __init__(self, desk: Desk, wire: Wire, tally: Tally) -> None:
        self._desk = desk
        self._tally = tally
        self._wire = wire
        self._wants: deque[Want | Seek] = deque()
        self._wanted = asyncio.Event()

    def want(self, packet: Want | Seek) -> None:
        """Take a want. WantFlood."""
        if len(self._wants) == MAX_WANTS:
            raise WantFlood(f"more than {MAX_WANTS} wants at a time")
        self._wants.append(packet)
        self._wanted.set()

    async def run(self) -> None:
        """Answer wants until it is cancelled. ArchiveError, PeerGone."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._wants:
                await self._give(self._wants[0])

    async def _give(self, want: Want | Seek) -> None:
        """Send what there is of the first want; the last packet says so, and may be empty."""
        items = await self._desk.find(want)
        if isinstance(want, Seek) and want.locates:
            self._wants.popleft()
            self._wire.send(Found(want.want, items))
            await self._wire.drain()
            return
        ahead = self._desk.fetch(items, GIVEN_BYTES) if items else None
        if ahead is None:
            self._send(want, b"", last=True)
        while ahead is not None:
            fetched = await ahead
            items = items[fetched.taken * ITEM_SIZE :]
            # The next ones are read while these are on their way.
            ahead = self._desk.fetch(items, GIVEN_BYTES) if items else None
            self._tally.sent += fetched.taken - len(fetched.absent) // ITEM_SIZE
            self._send(want, fetched.joined, last=ahead is None)
            await self._wire.drain()

    def _send(self, want: Want | Seek, envelopes: bytes, *, last: bool) -> None:
        if last:
            self._wants.popleft()  # before it is sent: the peer may want more at once
        self._wire.send(Envelopes(want.want, last, join_list([envelopes])))
