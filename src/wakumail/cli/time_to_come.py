"""Envelopes of a time to come, which a command has brought to an archive."""

import sys
import time

from wakumail.archive.archive import Archive, PageState, Query
from wakumail.archive.arrivals import RUN_BYTES
from wakumail.base.text import counted
from wakumail.waku.envelope import FUTURE_TOLERANCE, MAX_TIME

PAGE_ENVELOPES = 50_000
"""Most envelopes that one read transaction counts."""


def tell_time_to_come(archive: Archive) -> None:
    """Tell on stderr of envelopes that were created later than a server takes them."""
    query = Query(min(MAX_TIME, int(time.time()) + FUTURE_TOLERANCE + 1), MAX_TIME)
    count, position, state = 0, b"", PageState.MORE
    while state is not PageState.EXHAUSTED:
        job = archive.page_job(
            query, position, limit=PAGE_ENVELOPES, max_bytes=RUN_BYTES, lenient=True
        )
        page = job.do()
        count, position, state = count + page.count, page.position, page.state
    if count:
        verb = "was" if count == 1 else "were"
        told = f"{counted(count, 'envelope')} of the archive {verb} created later than now"
        print(f"wakumail archive: {told} by this clock", file=sys.stderr)
