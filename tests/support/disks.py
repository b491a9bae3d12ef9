"""Disks that refuse to write or are slow, for stores; reading works."""

import threading
from typing import Any, NoReturn, cast

from tests.support.patience import PATIENCE
from wakumail.archive.archive import Appended
from wakumail.archive.store import Store
from wakumail.errors import ArchiveError
from wakumail.waku.envelope import Batch


class Disk:
    """Takes the place of the archive that the store's writer thread works on, and passes on to it
    all that a disk does not do by itself: the thread prunes and sorts when it finds the time."""

    def __init__(self, store: Store) -> None:
        self.archive = store.archive
        self._writer = store.writer
        self._writer.archive = cast(Any, self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.archive, name)

    def mend(self) -> None:
        """Give the store its archive back."""
        self._writer.archive = self.archive


class FullDisk(Disk):
    """Has no room: refuses each write until `mend`."""

    def append(self, batches: object) -> None:
        raise ArchiveError("no room")


class SlowDisk(Disk):
    """Its writes wait until `writes` is set."""

    def __init__(self, store: Store) -> None:
        self.writes = threading.Event()
        super().__init__(store)

    def append(self, batches: list[Batch]) -> Appended:
        self.writes.wait(PATIENCE / 2)
        return self.archive.append(batches)


class FailingDisk(SlowDisk):
    """Its writes wait until `writes` is set, and are refused then."""

    def append(self, batches: object) -> NoReturn:
        self.writes.wait(PATIENCE / 2)
        raise ArchiveError("no room")
