"""Bells: one for each worker, rung by the others when they have committed something."""

import asyncio
import os
from collections.abc import Callable, Sequence


def make_bells(count: int) -> list[int]:
    """Descriptors of bells; what is rung while nobody listens is heard by the next who does."""
    return [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(count)]


class Bells:
    """The bells as one worker has them: it hears its own, and rings all others."""

    def __init__(self, descriptors: Sequence[int], own: int) -> None:
        self._own = descriptors[own]
        self._others = [bell for bell in descriptors if bell != self._own]

    def listen(self, on_ring: Callable[[], None]) -> None:
        """Call `on_ring` on the loop for one ring, or for many at once."""

        def heard() -> None:
            os.eventfd_read(self._own)
            on_ring()

        asyncio.get_running_loop().add_reader(self._own, heard)

    def close(self) -> None:
        """Hear nothing more."""
        asyncio.get_running_loop().remove_reader(self._own)

    def ring(self) -> None:
        """Wake the others."""
        for bell in self._others:
            os.eventfd_write(bell, 1)
