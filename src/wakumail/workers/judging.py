"""What workers have judged, kept in memory that they share, so that one does it for all."""

import mmap
import os

from wakumail.judged import SLOT_SIZE, Judged

SLOTS = 1 << 17
"""Envelopes that are remembered, the latest: of about a second at full load."""


def make_memory() -> int:
    """The descriptor of such memory, which is empty."""
    descriptor = os.memfd_create("wakumail-judged")
    os.truncate(descriptor, SLOTS * SLOT_SIZE)
    return descriptor


def judged_in(descriptor: int) -> Judged:
    """What the workers note there."""
    return Judged(mmap.mmap(descriptor, SLOTS * SLOT_SIZE))
