"""The name of the file that an error of the system is about.

A failed write names no file, and a failed rename two, of which one is temporary.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let each OSError of the body name this file."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = os.fspath(path), None
        raise
