"""Archives whose disks are not as they should be; reading works as ever."""

import threading

from tests.puppet import TIMEOUT
from wakumail.archive import Appended, Archive
from wakumail.envelope import Batch
from wakumail.errors import ArchiveError


class FullDisk:
    """An archive whose disk has no room: it reads, and refuses to write."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.reading, self.close = archive.reading, archive.close

    def append(self, batches: object) -> None:
        raise ArchiveError("no room")


class SlowDisk:
    """An archive whose first write takes until it is told otherwise."""

    def __init__(self, archive: Archive) -> None:
        self.writes = threading.Event()
        self.reading, self.close = archive.reading, archive.close
        self._archive = archive

    def append(self, batches: list[Batch]) -> Appended:
        self.writes.wait(TIMEOUT / 2)
        return self._archive.append(batches)
