"""The heap of the C library: pages of answers are made and freed all the time."""

import ctypes

KEPT = 8 << 20
"""Bytes of freed memory that are not given back to the system: pages of some clients, and their
frames. To have them cleared and mapped anew each time costs as much as to encrypt them."""

LARGE = 2 << 20
"""Bytes from which memory is mapped and given back on its own: more than a page of an answer."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8


def keep_freed() -> None:
    """Have KEPT bytes ready, once for all threads; before there are any, and with glibc only."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_TRIM_THRESHOLD, KEPT)
        mallopt(M_MMAP_THRESHOLD, LARGE)
