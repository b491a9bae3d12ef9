"""Errors of addresses that cannot be listened on, with the settings that they come from."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def from_settings(*flags: str) -> Iterator[None]:
    """Name the flags of an address in the OSError of a try to listen there."""
    try:
        yield
    except OSError as error:
        text = f"{error.strerror or error} (see {' and '.join(flags)})"
        raise OSError(error.errno, text) from error
