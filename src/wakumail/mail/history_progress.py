"""The progress of one history: ends one whose pages bring nothing new."""

from wakumail.errors import WakumailError
from wakumail.mail.answer import HistoryPage, RequestRefused
from wakumail.mail.request import Form, check_cursor

MAX_EMPTY_PAGES = 100
"""Limits the pages in a row that have a cursor but no envelope that was asked for."""

MAX_REPEATED_PAGES = 5
"""Limits the pages in a row whose envelopes have all come before."""

MAX_REMEMBERED = 1 << 20
"""Limits the hashes and the cursors of a history that are kept; they take some 120 MB. The history
forgets them when there are more. A circle of fewer envelopes is noticed all the same."""


class HistoryDisordered(WakumailError):
    """A mailserver sent its history in another order than the newest first."""

    counter = "history_disordered"


class HistoryProgress:
    """The envelopes and cursors that have come in one history."""

    def __init__(self, cursor: bytes) -> None:
        self._seen: set[bytes] = set()
        self._cursors = {cursor}
        self._empty = 0
        self._repeated = 0

    def take(self, page: HistoryPage) -> HistoryPage:
        """The page less the envelopes that came before."""
        page = page.without(self._seen)
        if len(self._seen) >= MAX_REMEMBERED:
            self._seen.clear()
        self._seen.update(envelope.hash for envelope in page.envelopes)
        self._empty = 0 if page.envelopes else self._empty + 1
        self._repeated = 0 if page.envelopes or not page.repeated else self._repeated + 1
        return page

    def check(self, cursor: bytes, form: Form) -> None:
        """RequestRefused unless it makes sense to ask for the page at `cursor`."""
        if self._repeated == MAX_REPEATED_PAGES:
            raise RequestRefused(f"{self._repeated} pages of envelopes that came before")
        if self._empty == MAX_EMPTY_PAGES:
            raise RequestRefused(f"{self._empty} pages without an envelope, and no end")
        if cursor in self._cursors:
            raise RequestRefused("the mailserver answered with a cursor that it was given")
        try:
            check_cursor(cursor, form)
        except ValueError as error:
            raise RequestRefused(f"the mailserver answered a wrong cursor: {error}") from None
        if len(self._cursors) >= MAX_REMEMBERED:
            self._cursors.clear()
        self._cursors.add(cursor)
