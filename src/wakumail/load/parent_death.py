"""Processes that end with the bench that started them, even if it is killed (prctl(2))."""

import ctypes
import os
import signal
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def end_with_parent(parent: int) -> None:
    """Let the system kill this process when `parent`, which started it, ends.

    The order outlives an exec, but not a fork.
    """
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended before the order was given
        os._exit(1)


def end_with_this_process() -> Callable[[], None]:
    """The same for a process that is about to be started: a `preexec_fn`."""
    parent = os.getpid()
    return lambda: end_with_parent(parent)
