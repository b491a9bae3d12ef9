"""The handshake thread: computes the handshakes of all links beside the event loop.

However many peers call at once, the loop only handles the steps that the thread has finished. A
storm of calls goes on at the pace of the thread, and connected peers are served in between. Hosts
take turns: a host that calls often makes no other wait for longer than one of its handshakes takes.
The callers of hosts for which there is no room are parked (acceptor.py).
"""

import asyncio
from collections.abc import Callable
from functools import partial

from wakumail.base.threads import Threads
from wakumail.devp2p.handshake import HandshakeStep, StepResult
from wakumail.node.link import Link

MAX_STEPS_AHEAD = 2
"""Handshake steps that the thread has at a time: the one that it computes, and the next. The others
wait where they can be taken back, and no more than these come to the loop in one round."""

MAX_STEPS_OF_HOST = 8
"""Waiting handshake steps of one host at which no more of its callers begin."""

MAX_HOSTS_WAITING = 64
"""Hosts with waiting handshake steps at which no more callers begin. A round of turns takes some
40 ms of the thread then."""


class HandshakeThread:
    """Computes the handshake steps of links. Those of one host are computed in their order."""

    def __init__(self, on_taken: Callable[[], None]) -> None:
        """`on_taken` is called for each step that waits no more."""
        self._on_taken = on_taken
        self._thread = Threads(1, "handshakes")
        self._waiting: dict[str, dict[Link, HandshakeStep]] = {}
        """By host; the next is the turn of the first."""
        self._computing = 0

    def add(self, link: Link, step: HandshakeStep) -> None:
        """Compute a step, then call `link.handshake_computed` with the result."""
        self._waiting.setdefault(link.host, {})[link] = step
        self._begin()

    def has_room(self, host: str) -> bool:
        """True if one more caller of a host may begin."""
        return not self.is_full and len(self._waiting.get(host, ())) < MAX_STEPS_OF_HOST

    @property
    def is_full(self) -> bool:
        """True if no caller of any host may begin."""
        return len(self._waiting) >= MAX_HOSTS_WAITING

    def remove(self, link: Link) -> None:
        """Drop the waiting step of a link that has ended."""
        if link in self._waiting.get(link.host, ()):
            self._take(link)
            self._begin()

    def close(self) -> None:
        """End the thread. No step waits any more."""
        self._thread.close()

    def _begin(self) -> None:
        while self._waiting and self._computing < MAX_STEPS_AHEAD:
            host = next(iter(self._waiting))
            link = next(iter(self._waiting[host]))
            step = self._take(link)
            if (others := self._waiting.pop(host, None)) is not None:
                self._waiting[host] = others
            self._computing += 1
            future = self._thread.run(step.compute)
            future.add_done_callback(partial(self._computed, link))

    def _take(self, link: Link) -> HandshakeStep:
        """Take the waiting step of a link out."""
        steps = self._waiting[link.host]
        step = steps.pop(link)
        if not steps:
            del self._waiting[link.host]
        self._on_taken()
        return step

    def _computed(self, link: Link, future: asyncio.Future[StepResult]) -> None:
        self._computing -= 1
        self._begin()
        link.handshake_computed(future.result())
