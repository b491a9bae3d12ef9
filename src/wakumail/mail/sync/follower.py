"""The follower of a session: tells the peer what arrives here, in the order of arrival."""

import asyncio
from collections.abc import Callable

from wakumail.mail.sync.desk import Desk
from wakumail.mail.sync.id_set import ids_of
from wakumail.mail.sync.offers import MAX_OFFERS, Offerer
from wakumail.mail.sync.packets import MAX_ITEMS
from wakumail.mail.sync.remembered import Remembered

LOOK_INTERVAL = 1.0
"""Seconds between two looks at what arrived."""

MAX_BEHIND = 500_000
"""Envelopes that the follower may lie behind; of more it tells nothing, and a round moves them."""


class Follower:
    """Offers a peer all that is committed here, but what it told us of itself.

    It reads the archive, so that it sees what other workers and an import commit too.
    """

    def __init__(self, desk: Desk, offerer: Offerer) -> None:
        self.on_behind: Callable[[], None] = lambda: None
        """Called when it gives up telling, so that a round is due."""
        self._desk = desk
        self._offerer = offerer
        self._known = Remembered()
        self._tells = False
        self._telling: set[asyncio.Task[int]] = set()

    def has(self, items: bytes) -> None:
        """The peer has these itself."""
        if self._tells:
            self._known.add(ids_of(items))

    def has_ids(self, ids: bytes) -> None:
        """The peer has the envelopes with these ids (joined)."""
        if self._tells:
            self._known.add(ids)

    async def run(self, sequence: int) -> None:
        """Tell the peer of all from this sequence on, until cancelled. ArchiveError, PeerGone."""
        self._tells = True
        try:
            while True:
                await asyncio.sleep(LOOK_INTERVAL)
                if await self._desk.next_sequence() > sequence + MAX_BEHIND:
                    sequence = await self._desk.next_sequence()
                    self.on_behind()
                sequence = await self._tell_from(sequence)
        finally:
            for task in self._telling:
                task.cancel()

    async def _tell_from(self, sequence: int) -> int:
        """Offer all that arrived from a sequence on; returns the next one."""
        while True:
            arrived, following = await self._desk.arrived(sequence, MAX_ITEMS)
            if following == sequence:
                return sequence
            sequence = following
            if items := self._known.out_of_items(arrived):
                telling = self._offerer.offer(items, arrived=True)
                self._telling.add(asyncio.get_running_loop().create_task(telling))
            while len(self._telling) >= MAX_OFFERS:
                done, self._telling = await asyncio.wait(
                    self._telling, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    task.result()
