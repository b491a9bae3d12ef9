"""Questions of commands to an archive before they go by this host's clock, which may be wrong."""

import sys
import time
from typing import NamedTuple

from wakumail.archive.archive import Archive, PageState, Query
from wakumail.archive.arrivals import RUN_BYTES
from wakumail.archive.retention import MAX_AHEAD, SHOWING
from wakumail.base.text import counted
from wakumail.cli.options import UNITS, parse_time
from wakumail.waku.envelope import FUTURE_TOLERANCE, MAX_TIME

PAGE_ENVELOPES = 50_000
"""Most envelopes that one read transaction counts."""


class Before(NamedTuple):
    """The time of a --before."""

    seconds: int
    """Unix seconds."""
    is_age: bool
    """True if it was told as an age, so that the clock decides."""


def parse_before(text: str) -> Before:
    """A time as of `parse_time`."""
    return Before(parse_time(text), text[-1:] in UNITS)


def require_rest(archive: Archive, before: Before) -> None:
    """ValueError if pruning to an age would leave next to nothing: the clock may be ahead."""
    oldest = archive.stat().oldest
    if not before.is_age or oldest is None or oldest >= before.seconds:
        return
    latest = min(MAX_TIME, int(time.time() + MAX_AHEAD))
    if held(archive, Query(before.seconds, latest), SHOWING) < SHOWING:
        raise ValueError(
            f"by this clock fewer than {counted(SHOWING, 'envelope')} would be left: it may be"
            " ahead. Nothing is deleted; if it is right, give a date instead of an age"
        )


def tell_time_to_come(archive: Archive) -> None:
    """Tell on stderr of envelopes that were created later than a server takes them."""
    query = Query(min(MAX_TIME, int(time.time()) + FUTURE_TOLERANCE + 1), MAX_TIME)
    if count := held(archive, query, MAX_TIME):
        verb = "was" if count == 1 else "were"
        told = f"{counted(count, 'envelope')} of the archive {verb} created later than now"
        print(f"wakumail archive: {told} by this clock", file=sys.stderr)


def held(archive: Archive, query: Query, most: int) -> int:
    """The envelopes of a query that the archive holds, or `most` if there are more."""
    count, position = 0, b""
    while count < most:
        limit = min(PAGE_ENVELOPES, most - count)
        job = archive.page_job(query, position, limit=limit, max_bytes=RUN_BYTES, lenient=True)
        page = job.do()
        count, position = count + page.count, page.position
        if page.state is PageState.EXHAUSTED:
            break
    return count
