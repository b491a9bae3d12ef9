"""How many files and sockets this process may have open at a time."""

import resource

from wakumail.errors import WakumailError

MIN_FILES = 64
"""What a server has open before the first peer comes, and some."""

MAX_FILES = 1 << 20
"""More are not asked for where the system sets no limit."""


class TooFewFiles(WakumailError):
    """The system lets this process open fewer files than it needs."""

    counter = "too_few_files"


def raise_file_limit() -> None:
    """Open as many as the system allows (`ulimit -n`, soft to hard); TooFewFiles."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < MIN_FILES:
        raise TooFewFiles(f"only {most} files may be open (ulimit -n), but {MIN_FILES} have to be")
