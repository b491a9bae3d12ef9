"""Keeps the table of discovery filled and fresh: lookups, one at a time, and pings (discv4)."""

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from wakumail.devp2p.discovery.lookup import Lookup
from wakumail.devp2p.discovery.questions import Question, Questions
from wakumail.devp2p.discovery.table import Contact, Table, key_of
from wakumail.devp2p.discovery.timers import Timers
from wakumail.devp2p.keys import NODE_ID_SIZE, Random

MAX_REVALIDATION = 10.0
"""Seconds between two pings of nodes in the table, at most; a third of it at least."""

MIN_REFRESH = 5.0
"""Seconds between the first two refreshes. They double with each."""

MAX_REFRESH = 1800.0
"""Seconds between two refreshes, at most."""

MAX_LONELY_REFRESH = 60.0
"""The same while the table is empty."""

RANDOM_LOOKUPS = 3
"""Lookups of a refresh, besides that for our own id."""

MAX_TARGETS = 16
"""Lookups that may wait for their turn."""


class Exploration:
    """Decides whom to ask, and when."""

    def __init__(
        self,
        table: Table,
        questions: Questions,
        timers: Timers,
        random: Random,
        counted: Callable[[str], None],
    ) -> None:
        self._table = table
        self._questions = questions
        self._timers = timers
        self._random = random
        self._count = counted
        self._entries: list[Contact] = []
        self._targets: deque[bytes] = deque()
        self._lookup: Lookup | None = None
        self._refresh_delay = MIN_REFRESH

    def start(self, seeds: Iterable[Contact]) -> None:
        """Begin with the nodes of the last run."""
        self._entries = list(seeds)
        self._refresh()
        self._timers.later(MAX_REVALIDATION, self._revalidate)

    def enter(self, bootnodes: Iterable[Contact]) -> None:
        """Take more nodes that lead into the network while the table is empty."""
        self._entries += bootnodes
        if not len(self._table):
            self.look_for(self._table.own_id)

    def look_around(self) -> None:
        """Look for any nodes, unless a lookup is going on."""
        if self._lookup is None:
            self.look_for(self._random(NODE_ID_SIZE))

    def look_for(self, target: bytes) -> None:
        """Look for the nodes closest to a node id, after the lookups that wait already."""
        if len(self._targets) < MAX_TARGETS:
            self._targets.append(target)
        self._next_lookup()

    def _refresh(self) -> None:
        """Look for our own neighbourhood and for some other places; again after a while."""
        for target in (
            self._table.own_id,
            *(self._random(NODE_ID_SIZE) for _ in range(RANDOM_LOOKUPS)),
        ):
            self.look_for(target)
        most = MAX_REFRESH if len(self._table) else MAX_LONELY_REFRESH
        delay = min(self._refresh_delay, most)
        self._refresh_delay = 2 * delay
        self._timers.later(delay, self._refresh)

    def _revalidate(self) -> None:
        """Ping one node of the table, that not heard of longest in some bucket."""
        contact = self._table.oldest(int.from_bytes(self._random(4), "big"))
        if contact is not None:
            self._questions.ping(contact)
        delay = MAX_REVALIDATION * (1 + 2 * self._random(1)[0] / 256) / 3
        self._timers.later(delay, self._revalidate)

    # -- lookups -------------------------------------------------------------------------------

    def _next_lookup(self) -> None:
        if self._lookup is not None or not self._targets:
            return
        target = self._targets.popleft()
        key = key_of(target)
        self._count("discovery_lookups")
        # Old acquaintances are asked beside the bootnodes only if there is no other way in.
        known = self._table.closest(key) or self._entries
        self._lookup = Lookup(target, key, known, self._table.own_id)
        self._advance(self._lookup)

    def _advance(self, lookup: Lookup) -> None:
        """Ask whom a lookup wants to ask next; at its end begin the next one."""
        while (contact := lookup.ask()) is not None:
            self._questions.greet(contact, partial(self._find, lookup, contact))
        if lookup.done and lookup is self._lookup:
            self._lookup = None
            self._timers.later(0.0, self._next_lookup)

    def _find(self, lookup: Lookup, contact: Contact, greeted: bool) -> None:
        if greeted:
            self._questions.find(contact, lookup.target, partial(self._take, lookup))
        else:
            lookup.end(contact, answered=False)
            self._advance(lookup)

    def _take(self, lookup: Lookup, answered: bool, question: Question) -> None:
        lookup.hear_of(question.nodes)
        lookup.end(question.contact, answered=answered)
        self._advance(lookup)
