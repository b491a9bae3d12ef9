"""Signals that wait until something is done."""

import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager


@contextmanager
def signals_held(signals: Collection[int]) -> Iterator[set[signal.Signals | int]]:
    """Block signals within; yields the mask before. The threads that start within never get them.

    Python's handlers run in the main thread, whichever thread a signal came to.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
