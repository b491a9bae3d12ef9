"""The files that this process has open, to see that none stays open."""

import os
from contextlib import suppress


def open_files() -> set[str]:
    """The descriptors, and of sockets the numbers that the system gives to no other.

    Earlier tests may have left some, which end at any time: compare with `<=`. A socket that has
    the descriptor of one that ended is seen by its number.
    """
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the directory itself
            target = os.readlink(f"/proc/self/fd/{descriptor}")
            found |= {descriptor, target} if target.startswith("socket:") else {descriptor}
    return found
