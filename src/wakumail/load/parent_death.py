"""Processes that end with the bench that started them, even if it is killed (prctl(2))."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Sequence
from typing import Any

from wakumail.base.held_signals import signals_held

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def end_with_parent(parent: int) -> None:
    """Let the system kill this process when `parent`, which started it, ends.

    The setting stays after an exec. A fork does not inherit it.
    """
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)


def start(command: Sequence[str], **choices: Any) -> "subprocess.Popen[Any]":
    """Start a process that ends with this one. choices: arguments of Popen.

    Signals wait until it is started, and if one then raises, the process is killed. Python drops
    what a signal's handler raises within the hooks of a fork.
    """
    parent = os.getpid()
    process = None
    try:
        with signals_held(signal.valid_signals()) as before:

            def begin() -> None:
                end_with_parent(parent)
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

            process = subprocess.Popen(command, preexec_fn=begin, **choices)
    except BaseException:
        if process is not None:
            kill(process)
        raise
    return process


def kill(process: "subprocess.Popen[Any]") -> None:
    """Kill a process, and wait for its end."""
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
