"""The branch pages of the indexes, read when a store starts, so that few requests wait for them."""

import logging
import threading

from wakumail.archive.archive import Archive
from wakumail.errors import ArchiveError

log = logging.getLogger(__name__)

MAX_BRANCH_BYTES = 64 << 20
"""Bytes of branch pages that are read: those of some 40,000,000 envelopes."""


class BranchPages:
    """Reads those of one day after another, the newest first, in a thread of its own."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._read, name="branch-pages", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until all are read."""
        self._thread.join()

    def close(self) -> None:
        """Wait for the day under way, and end the thread."""
        self._closing.set()
        self.wait()

    def _read(self) -> None:
        read = 0
        try:
            for day in reversed(self._archive.days()):
                if self._closing.is_set() or read >= MAX_BRANCH_BYTES:
                    break
                read += self._archive.read_branches(day.start)
        except ArchiveError as error:
            log.debug("branch pages are left to requests: %s", error)
