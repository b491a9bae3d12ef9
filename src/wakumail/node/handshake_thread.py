"""The handshake_thread: computes the handshakes of all links, in a thread beside the loop.

However many peers call at once, the loop has only what the thread has finished to deal with: a
storm of them goes on at the thread's pace, and those that are connected are served in between.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from wakumail.base.threads import Threads
from wakumail.devp2p.handshake import HandshakeStep, StepResult
from wakumail.node.link import Link

MAX_STEPS_AHEAD = 2
"""Parts of handshakes that the thread has at a time: one to compute, and the next. All others wait
where they can be taken back, and no more than that come to the loop in one turn."""

MAX_STEPS_WAITING = 32
"""Parts of handshakes that may wait before no more peers are let in: some 20 ms of the thread."""


class HandshakeThread:
    """Computes the handshake steps of links, in the order in which they come."""

    def __init__(self, on_room: Callable[[bool], None]) -> None:
        """`on_room` is told whether there is room for more."""
        self._on_room = on_room
        self._thread = Threads(1, "handshakes")
        self._waiting: dict[Link, HandshakeStep] = {}
        self._computing = 0

    def add(self, link: Link, step: HandshakeStep) -> None:
        """Compute this, then tell the link."""
        self._waiting[link] = step
        self._begin()

    def remove(self, link: Link) -> None:
        """Compute nothing more for a link that has ended."""
        if self._waiting.pop(link, None) is not None:
            self._begin()

    def close(self) -> None:
        """End the thread; nothing is waiting any more."""
        self._thread.close()

    def _begin(self) -> None:
        while self._waiting and self._computing < MAX_STEPS_AHEAD:
            link = next(iter(self._waiting))
            step = self._waiting.pop(link)
            self._computing += 1
            future = self._thread.run(step.compute)
            future.add_done_callback(partial(self._computed, link))
        self._on_room(len(self._waiting) < MAX_STEPS_WAITING)

    def _computed(self, link: Link, future: asyncio.Future[StepResult]) -> None:
        self._computing -= 1
        self._begin()
        link.handshake_computed(future.result())
