"""The heap of a server: pages of answers come and go constantly, peers stay for hours."""

import ctypes
import gc

KEPT = 8 << 20
"""Bytes of freed memory that the process keeps: the pages of some clients, and their frames. If the
system had to clear and map them again each time, that would cost as much as to encrypt them."""

LARGE = 2 << 20
"""Blocks from this size on are mapped and returned one by one: more than a page of an answer."""

FULL_COLLECTION = 100
"""Middle collections of cyclic garbage before a full one; each adds at most some 7,000 objects that
may be garbage. A full collection stops the loop for a tenth of a second with 5,000 peers, and finds
next to nothing: the objects of a peer are freed with their last reference."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8


def collect_rarely() -> None:
    """Make full collections ten times as rare, and exempt the objects that exist now."""
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, FULL_COLLECTION)
    gc.freeze()


def keep_freed() -> None:
    """Keep KEPT bytes of freed memory, for all threads; before they start, with glibc only."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_TRIM_THRESHOLD, KEPT)
        mallopt(M_MMAP_THRESHOLD, LARGE)
