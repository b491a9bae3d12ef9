"""The shared memory of judgements (see judgements.pyx): the supervisor makes it, workers map it."""

import mmap
import os

from wakumail.waku.judgements import SLOT_SIZE, Judgements

SLOTS = 1 << 17
"""Envelopes that are remembered, the latest: of about a second at full load."""


def make_memory() -> int:
    """The descriptor of such memory, which is empty."""
    descriptor = os.memfd_create("wakumail-judgements")
    os.truncate(descriptor, SLOTS * SLOT_SIZE)
    return descriptor


def judgements_in(descriptor: int) -> Judgements:
    """What the workers note there."""
    return Judgements(mmap.mmap(descriptor, SLOTS * SLOT_SIZE))
