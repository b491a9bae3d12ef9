"""The number of files and sockets that this process may have open."""

import resource

from wakumail.errors import WakumailError

MIN_FILES = 64
"""Files that a server has open before the first peer comes, with some to spare."""

MAX_FILES = 1 << 20
"""The limit that is set if the system has none."""


class TooFewFiles(WakumailError):
    """The system lets this process open fewer files than it needs."""

    counter = "too_few_files"


def raise_file_limit() -> None:
    """Raise the soft limit (`ulimit -n`) to the hard one; TooFewFiles if that is too low."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < MIN_FILES:
        raise TooFewFiles(f"only {most} files may be open (ulimit -n), but {MIN_FILES} have to be")
