"""A backup: a copy of an archive, which every later backup into its directory brings up to date.

The copy is an archive, so each commit to it is whole or not there: a backup that is killed leaves
what the former one had. First goes what pruning has deleted, then comes what arrived since. Sums
show that both are equal then. Where they are not, the caller makes a new copy beside the old one.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from wakumail.archive.archive import POSITION_SIZE, Archive
from wakumail.archive.datadir import Datadir
from wakumail.archive.results import Bound
from wakumail.archive.retention import AFTER_ALL, slice_limit
from wakumail.base.edited_file import read_edited
from wakumail.base.json_text import parse_json
from wakumail.base.whole_file import replace_file, sweep_folder, sync_names
from wakumail.errors import WakumailError
from wakumail.waku.envelope import parse_stream

ITEMS_AT_ONCE = 5000
"""Envelopes that are looked up together in the order of arrival."""

COMMIT_BYTES = 4 << 20
"""Bytes of envelopes that one commit to the copy has, about."""

PRUNE_STEP = 2000
"""Envelopes that are deleted from the copy in one commit, where it is not a whole day."""

FIRST = Bound(0, b"")
BEHIND_ALL = Bound(AFTER_ALL, b"")


class BackupRefused(WakumailError):
    """The directory is no backup, or that of another node; the text says which."""

    counter = "backup_refused"


class Note(NamedTuple):
    """The file beside the copy: what it is a copy of, and how far it goes."""

    node: str
    """The node id in hexadecimal digits, "" if the data directory had no node key."""
    next_sequence: int
    """The sequence, in the original, of the first envelope that was not copied yet."""
    taken: int
    """Unix seconds at which the last backup was complete; 0 before the first."""


class Backup:
    """A directory with a backup. Its `archive/` is the copy, `backup.json` the Note."""

    def __init__(self, path: Path) -> None:
        self.datadir = Datadir(path)
        self.identity = path / "identity"
        """The folder of the identity, if the backup has one."""
        self._note = Note("", 0, 0)

    @property
    def taken(self) -> int:
        """Unix seconds at which the last backup was complete; 0 before the first."""
        return self._note.taken

    @contextmanager
    def updating(self, node: str) -> Iterator[None]:
        """Hold the directory for a backup of this node (see Note); it is made if it is missing.

        BackupRefused for a directory with other content, DatadirInUse if a backup is under way.
        """
        self.datadir.make()
        with self.datadir.alone():
            sweep_folder(self.identity)
            if self.datadir.backup.exists():
                self.read_note()
            elif self.datadir.holds_archive:
                raise BackupRefused(f"{self.datadir.path} has an archive that is no backup")
            else:
                self._keep(Note(node, 0, 0))
            if self._note.node != node:
                text = f"{self.datadir.path} is a backup of {name(self._note.node)}, not of"
                raise BackupRefused(f"{text} {name(node)}: take another directory")
            yield

    def read_note(self) -> None:
        """Read the Note. BackupRefused if there is none."""
        path = self.datadir.backup
        try:
            self._note = Note(**parse_json(read_edited(path, pipe=False)))
            if [type(value) for value in self._note] != [str, int, int]:
                raise ValueError("it has values of another kind")
        except FileNotFoundError:
            raise BackupRefused(f"{path.parent} is no backup: it has no {path.name}") from None
        except (ValueError, TypeError) as error:
            raise BackupRefused(f"{path} is not what a backup writes: {error}") from None

    def update(self, original: Archive, advance: Callable[[int], object]) -> bool:
        """Bring the copy up to date; False if it is not equal to the original then.

        It is not if envelopes were pruned meanwhile, or were not the oldest when they were pruned.
        `advance` is called with the envelopes of each step. ArchiveFull and ArchiveError leave what
        is copied so far.
        """
        log_place = original.log_place()  # what it stands for is in all that is read after it
        with original.items() as items:
            oldest, end = items.ids(FIRST, BEHIND_ALL, 1), items.next_sequence
            wanted = items.fold(FIRST, BEHIND_ALL)
        with Archive(self.datadir.archive) as copy:
            self._drop_pruned(oldest, copy)
            self._take_arrived(original, end, copy, advance)
            with copy.items() as items:
                equal = items.fold(FIRST, BEHIND_ALL) == wanted
            if equal and log_place is not None:
                copy.append([], log_place)
        if equal:
            self._complete(end)
        return equal

    def replace(self, made: Path) -> None:
        """Take the new copy in the directory `made` in place of the old one."""
        with Archive(made, readonly=True) as copy:
            next_sequence = copy.stat().next_sequence
        self.datadir.replace_archive(made)
        self._complete(next_sequence)

    def _drop_pruned(self, oldest: bytes, copy: Archive) -> None:
        """Delete what is older than `oldest`, the first item of the original; empty for all."""
        behind = Bound(int.from_bytes(oldest[:4], "big"), oldest[4:]) if oldest else BEHIND_ALL
        with copy.items() as items:
            surplus = items.fold(FIRST, behind).count
        more = True
        while surplus > 0 and more:
            before = behind.time + 1
            limit = slice_limit(copy.days(), before, PRUNE_STEP)
            pruned = copy.prune(before, limit=min(limit, surplus))
            surplus, more = surplus - pruned.envelopes, pruned.more
        while copy.prune(behind.time, limit=PRUNE_STEP).more:  # bytes of what is deleted
            pass

    def _take_arrived(
        self, original: Archive, end: int, copy: Archive, advance: Callable[[int], object]
    ) -> None:
        """Copy what arrived before the sequence `end`, and keep the place after each step."""
        while (place := self._note.next_sequence) < end:
            items, behind = original.arrived(place, limit=min(ITEMS_AT_ONCE, end - place))
            advance(len(items) // POSITION_SIZE)
            while items:
                fetched = original.envelopes(items, max_bytes=COMMIT_BYTES)
                copy.append([parse_stream(fetched.joined, final=True)[0]])
                items = items[fetched.taken * POSITION_SIZE :]
            # Without progress nothing is left there: the last to arrive were pruned.
            self._keep(self._note._replace(next_sequence=behind if behind > place else end))

    def _complete(self, next_sequence: int) -> None:
        self._keep(self._note._replace(next_sequence=next_sequence, taken=int(time.time())))
        sync_names(self.datadir.path)

    def _keep(self, note: Note) -> None:
        replace_file(self.datadir.backup, json.dumps(note._asdict()).encode())
        self._note = note


def name(node: str) -> str:
    """The name of a node in a sentence, by the beginning of its id."""
    return f"node {node[:16]}…" if node else "a directory without a node key"
