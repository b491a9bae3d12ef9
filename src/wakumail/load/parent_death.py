"""Processes that end with the bench that started them, even if it is killed (prctl(2))."""

import ctypes
import os
import signal
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def end_with_parent(parent: int) -> None:
    """Let the system kill this process when `parent`, which started it, ends.

    The setting stays after an exec. A fork does not inherit it.
    """
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)


def end_with_this_process() -> Callable[[], None]:
    """A `preexec_fn` that calls `end_with_parent` in the process that is started."""
    parent = os.getpid()
    return lambda: end_with_parent(parent)
