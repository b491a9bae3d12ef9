"""The heap of a server: pages of answers come and go all the time, and peers stay for hours."""

import ctypes
import gc

KEPT = 8 << 20
"""Bytes of freed memory that are not given back to the system: pages of some clients, and their
frames. To have them cleared and mapped anew each time costs as much as to encrypt them."""

LARGE = 2 << 20
"""Bytes from which memory is mapped and given back on its own: more than a page of an answer."""

FULL_COLLECTION = 100
"""Middle collections of cyclic garbage before a full one; each adds some 7,000 objects at most that
may be garbage. A full one stops the loop for a tenth of a second with 5,000 peers, and finds next
to nothing: what belongs to a peer goes with its last reference."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8


def collect_rarely() -> None:
    """Look through all objects ten times less often than usual, and never at those of the start."""
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, FULL_COLLECTION)
    gc.freeze()


def keep_freed() -> None:
    """Have KEPT bytes ready, once for all threads; before there are any, and with glibc only."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_TRIM_THRESHOLD, KEPT)
        mallopt(M_MMAP_THRESHOLD, LARGE)
