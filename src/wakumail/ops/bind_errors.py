"""Errors of addresses that cannot be listened on, with the settings that they come from."""

from collections.abc import Iterator
from contextlib import contextmanager

from wakumail.errors import WakumailError, reason


class BindFailed(WakumailError):
    """Nothing can listen at an address; the text has the reason and the flags."""

    counter = "bind_failed"


@contextmanager
def from_settings(*flags: str) -> Iterator[None]:
    """Name the flags of an address in the error of a try to listen there: BindFailed."""
    try:
        yield
    except (OSError, WakumailError) as error:
        raise BindFailed(f"{reason(error)} (see {' and '.join(flags)})") from None
