"""The progress of one history: ends one whose pages bring nothing new, or too little for ever.

A mailserver that answers in good faith gives a cursor once a page has as many envelopes as it gives
at a time, and goes through the range of times in one direction.
"""

from collections.abc import Sequence

from wakumail.errors import AnswerTimeout, WakumailError
from wakumail.mail.answer import MAX_PAGE_BYTES, MAX_TIMEOUTS, HistoryPage, RequestRefused
from wakumail.mail.request import Form, check_cursor
from wakumail.waku.envelope import Envelope

MAX_SHORT_PAGES = 100
"""Limits the short pages in a row: those that have a cursor, and hardly an envelope that was asked
for and is new."""

SHORT_PAGE = 10
"""Envelopes that make a page more than a short one. A page with as many as were asked for is none.
It is low, since a mailserver may give fewer at a time than a request asks for."""

SHORT_BYTES = 64 << 10
"""Bytes of envelopes that make a page more than a short one. A mailserver has one answer timeout to
send as many before it counts as slow."""

PAGE_SHARE = 0.1
"""The part of the answer timeout that any page may take before its mailserver counts as slow. It
leaves room for the trips of many small pages, where a request asks for few envelopes."""

MAX_REPEATED_PAGES = 5
"""Limits the pages in a row whose envelopes have all come before."""

MAX_REMEMBERED = 1 << 20
"""Limits the hashes and the cursors of a history that are kept; they take some 120 MB. The history
forgets them when there are more. A circle of fewer envelopes is noticed all the same."""


class HistoryDisordered(WakumailError):
    """A mailserver sent its history out of order, or one second of it without end."""

    counter = "history_disordered"


class HistoryProgress:
    """The envelopes and cursors that have come in one history, and the time that they took.

    A long history is asked for in windows of time, the newest first: all that is limited is limited
    for all of them together.
    """

    def __init__(self, limit: int, timeout: float) -> None:
        self._seen: set[bytes] = set()
        self._cursors: set[bytes] = set()
        self._least = min(limit, SHORT_PAGE)
        """Envelopes that make a page more than a short one."""
        self._timeout = timeout
        """The answer timeout (seconds)."""
        self._short = 0
        self._repeated = 0
        self._lost = 0.0
        """Seconds that pages took beyond what their envelopes account for."""
        self._order = _Order()

    def begin_window(self, cursor: bytes) -> None:
        """Go on with the next window of time, or the first, at a cursor. AnswerTimeout."""
        self._check_time()
        self._cursors.add(cursor)
        self._order = _Order()

    def take(self, page: HistoryPage, seconds: float) -> HistoryPage:
        """The page less the envelopes that came before; it took some seconds to come.

        HistoryDisordered if it is not behind the page before.
        """
        page = page.without(self._seen)
        self._order.take(page.envelopes)
        if len(self._seen) >= MAX_REMEMBERED:
            self._seen.clear()
        self._seen.update(envelope.hash for envelope in page.envelopes)
        size = sum(len(envelope.rlp) for envelope in page.envelopes)
        is_short = len(page.envelopes) < self._least and size < SHORT_BYTES
        if not is_short:
            self._short = 0
        elif page.cursor:  # else it is the last of its window, of which a good one may have few
            self._short += 1
        self._repeated = 0 if page.envelopes or not page.repeated else self._repeated + 1
        allowed = self._timeout * (PAGE_SHARE + size / SHORT_BYTES)
        self._lost = max(0.0, self._lost + seconds - allowed)
        return page

    def check(self, cursor: bytes, form: Form) -> None:
        """RequestRefused or AnswerTimeout unless it makes sense to ask for the page at `cursor`."""
        if self._repeated == MAX_REPEATED_PAGES:
            raise RequestRefused(f"{self._repeated} pages of envelopes that came before")
        if self._short == MAX_SHORT_PAGES:
            raise RequestRefused(
                f"{self._short} pages in a row with fewer than {self._least} new envelopes each, "
                "and no end"
            )
        self._check_time()
        if cursor in self._cursors:
            raise RequestRefused("the mailserver answered with a cursor that it was given")
        try:
            check_cursor(cursor, form)
        except ValueError as error:
            raise RequestRefused(f"the mailserver answered a wrong cursor: {error}") from None
        if len(self._cursors) >= MAX_REMEMBERED:
            self._cursors.clear()
        self._cursors.add(cursor)

    def _check_time(self) -> None:
        if self._lost > MAX_TIMEOUTS * self._timeout:
            raise AnswerTimeout(
                f"its pages bring too little for the time that they take: {self._lost:.0f} s lost "
                f"(timeout {self._timeout:g} s)"
            )


class _Order:
    """The direction in which the pages of one history go through time.

    It is the newest first, or the oldest first with the LevelDB of status-go. Within a page any
    order will do.
    """

    def __init__(self) -> None:
        self._falling = True
        self._rising = True
        self._span: tuple[int, int] | None = None
        """The oldest and the newest creation time of the last page (Unix seconds)."""
        self._second = -1
        """The creation time that the history has come to."""
        self._second_bytes = 0
        """Bytes of the envelopes created then that have come."""

    def take(self, envelopes: Sequence[Envelope]) -> None:
        """Go on by a page; HistoryDisordered if that is not in the same direction."""
        if not envelopes:
            return
        times = [envelope.created for envelope in envelopes]
        oldest, newest = min(times), max(times)
        if self._span is not None:
            self._falling = self._falling and newest <= self._span[0]
            self._rising = self._rising and oldest >= self._span[1]
        if not self._falling and not self._rising:
            raise HistoryDisordered("its pages are not in order of time")
        self._span = oldest, newest
        second = oldest if self._falling else newest
        if second != self._second:
            self._second, self._second_bytes = second, 0
        self._second_bytes += sum(len(e.rlp) for e in envelopes if e.created == second)
        if self._second_bytes > MAX_PAGE_BYTES:
            raise HistoryDisordered(f"its history has over {MAX_PAGE_BYTES} bytes of one second")
