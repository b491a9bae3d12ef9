"""Files that have to be regular ones. To open a FIFO would wait for its other end, without end."""

import errno
import os
import stat
from pathlib import Path


def open_regular(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file, for `open` too; mode 0600 if it is made. OSError if it is not a regular one."""
    descriptor = -1
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK, 0o600)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.ENXIO):  # a folder, a socket
            raise
    if descriptor >= 0:
        os.close(descriptor)
    raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))


def read_regular(path: Path) -> bytes:
    """The content of a file. OSError."""
    with open(path, "rb", opener=open_regular) as file:
        return file.read()
