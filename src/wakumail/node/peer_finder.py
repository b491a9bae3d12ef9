"""Peers that nobody has named: found by discovery and lists, dialed until there are enough."""

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from wakumail.base.tasks import end_tasks
from wakumail.counters import Counters
from wakumail.devp2p.enode import Enode
from wakumail.errors import PeerGone, reason
from wakumail.node.dialer import Dialer
from wakumail.node.node import DIAL_TIMEOUT, Node

log = logging.getLogger(__name__)

SEARCH_INTERVAL = 2.0
"""Seconds between two looks at the candidates while peers are missing."""

MAX_SEARCHES = 8
"""Dials of candidates in progress at the same time."""

MIN_REST = 300.0
"""Seconds before a candidate that could not be reached is dialed again. They double each time."""

MAX_REST = 24 * 3600.0
"""Seconds before the next dial of a candidate, at most; always if it speaks nothing that we do."""

MAX_RESTING = 10_000
"""Candidates whose rest is remembered; the one that was dialed longest ago is forgotten first."""


class Candidate(NamedTuple):
    """A node that may be dialed."""

    enode: Enode
    speaks_waku: bool
    """True if its record says so; others may speak Waku too, but most of them do not."""


class Source(Protocol):
    """Something that finds nodes: discovery, or a list in the DNS."""

    def candidates(self) -> Iterable[Candidate]:
        """All that were found, in any order; asked often while peers are missing."""

    def look(self) -> None:
        """Look for more; asked for while the candidates do not do."""


class Rest(NamedTuple):
    """The rest of a candidate: the end of this one, and the length of the next after a failure."""

    until: float
    seconds: float


class PeerFinder:
    """Keeps a number of peers that we have called; those that the dialer keeps count too."""

    def __init__(self, node: Node, dialer: Dialer, sources: Sequence[Source], mindial: int) -> None:
        self._node = node
        self._dialer = dialer
        self._sources = sources
        self._mindial = mindial
        self._resting: OrderedDict[bytes, Rest] = OrderedDict()
        self._dials: dict[bytes, asyncio.Task[None]] = {}
        self._search: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look for peers."""
        self._search = asyncio.get_running_loop().create_task(self._keep_searching())

    async def close(self) -> None:
        """Dial no more. Connections stay."""
        tasks = [*self._dials.values(), *([] if self._search is None else [self._search])]
        await end_tasks(tasks)

    @property
    def called(self) -> int:
        """The number of peers that we have called."""
        return sum(not link.inbound for link in self._node.peers)

    async def _keep_searching(self) -> None:
        while True:
            self._dial_some()
            await asyncio.sleep(SEARCH_INTERVAL)

    def _dial_some(self) -> None:
        """Dial as many candidates as peers are missing, and look for more if there are too few."""
        missing = self._mindial - self.called - len(self._dials)
        if missing <= 0:
            return
        chosen = self._choose(min(missing, MAX_SEARCHES - len(self._dials)))
        for enode in chosen:
            task = asyncio.get_running_loop().create_task(self._dial(enode))
            self._dials[enode.node_id] = task
        if len(chosen) < missing:
            for source in self._sources:
                source.look()

    def _choose(self, count: int) -> list[Enode]:
        """Candidates that are not connected, not dialed and not resting; best ones first."""
        now = asyncio.get_running_loop().time()
        fit: dict[bytes, Candidate] = {}
        for source in self._sources:
            for candidate in source.candidates():
                who = candidate.enode.node_id
                known = fit.get(who)
                if (known is None or candidate.speaks_waku > known.speaks_waku) and (
                    self._may_dial(candidate.enode, now)
                ):
                    fit[who] = candidate
        # At random, so that not all nodes call the same few.
        order = sorted(fit.values(), key=lambda c: (not c.speaks_waku, random.random()))
        return [candidate.enode for candidate in order[: max(0, count)]]

    def _may_dial(self, enode: Enode, now: float) -> bool:
        who = enode.node_id
        rest = self._resting.get(who)
        return (
            (rest is None or rest.until <= now)
            and who != self._node.own_id
            and who not in self._node.links
            and who not in self._dials
            and who not in self._dialer.targets
            and not enode.undialable
        )

    async def _dial(self, enode: Enode) -> None:
        """Dial a candidate. One that fails rests; a day if it speaks nothing that we do."""
        counters: Counters = self._node.counters
        counters.add("dials_of_candidates")
        try:
            async with asyncio.timeout(DIAL_TIMEOUT):
                await self._node.dial(enode)
        except (OSError, PeerGone) as error:  # a TimeoutError is an OSError
            useless = isinstance(error, PeerGone) and error.useless
            counters.add("dials_of_candidates_useless" if useless else "dials_of_candidates_failed")
            log.debug("%s cannot be reached: %s", enode.address, reason(error))
            self._let_rest(enode.node_id, useless=useless)
        else:
            # It is not dialed at once again when it leaves.
            self._let_rest(enode.node_id, useless=False)
        finally:
            del self._dials[enode.node_id]

    def _let_rest(self, who: bytes, *, useless: bool) -> None:
        before = self._resting.pop(who, None)
        seconds = MAX_REST if useless else MIN_REST if before is None else before.seconds
        now = asyncio.get_running_loop().time()
        self._resting[who] = Rest(now + seconds, min(2 * seconds, MAX_REST))
        if len(self._resting) > MAX_RESTING:
            self._resting.popitem(last=False)
