"""The files of a LevelDB, checked for what LevelDB leaves out without a word.

LevelDB reports tables and records with a wrong checksum. It takes a log that ends inside a record
for one whose writer was killed, passes over the rest of a block behind a zeroed head, and reads a
directory whose log is gone. Formats: LevelDB's log_format.md, version_edit.cc and write_batch.cc.

A record of a log is a batch of changes: the sequence number of its first one (8 bytes,
little-endian), their number (4 bytes), and what they are. The numbers go on from record to record
and from log to log, also in goleveldb, so a hole shows what is gone.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from wakumail.base.text import counted

BLOCK_SIZE = 32768
HEADER_SIZE = 7
"""Bytes before a part of a record: checksum, size (2 bytes, little-endian), kind."""

FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4

LOG_NAME = re.compile(r"([0-9]+)\.log")


class LogRecords:
    """The records of a log or a manifest."""

    def __init__(self, data: bytes) -> None:
        self.cut = 0
        """Bytes at the end that are no whole record; known when all were read."""
        self.passed_over = 0
        """Bytes of blocks from a zeroed head on; known when all were read."""
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        data, at, start = self._data, 0, 0
        parts: list[bytes] = []
        while at < len(data):
            room = BLOCK_SIZE - at % BLOCK_SIZE
            if room < HEADER_SIZE:
                at += room
                continue
            size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6 : at + 7]
            if kind == b"\0" and not size:
                # LevelDB before 1.15 left such space at the end of a log, goleveldb never does.
                self.passed_over += min(room, len(data) - at)
                at += room
                continue
            end = at + HEADER_SIZE + size
            if end > len(data):
                break
            if kind[0] in (FULL, FIRST):
                parts, start = [], at
            parts.append(data[at + HEADER_SIZE : end])
            at = end
            if kind[0] in (FULL, LAST):
                yield b"".join(parts)
                parts, start = [], at
        self.cut = max(0, len(data) - (start if parts else at))

    def lost(self, name: str) -> list[str]:
        """Sentences on the bytes of the file that are no records, when all were read."""
        told = []
        if self.passed_over:
            told.append(f"{name} has {self.passed_over:,} bytes behind a zeroed head of a record")
        if self.cut:
            told.append(f"{name} ends in {self.cut:,} bytes of a cut record")
        return told


class Manifest:
    """The oldest log that a manifest names. ValueError if it cannot be read."""

    def __init__(self, data: bytes) -> None:
        self.log = self.previous_log = 0
        """Numbers of logs; 0 for none."""
        self.sequence = 0
        """A sequence number that has been in use."""
        self.before_log = 0
        """The sequence number before the log, or with LevelDB a later one."""
        self.past_logs = 0
        """The sequence number up to which goleveldb put changes into tables, and into no log."""
        self.records = LogRecords(data)
        for record in self.records:
            self._edit(record)

    def _edit(self, record: bytes) -> None:
        """Apply a version edit."""
        at = 0
        log: int | None = None
        sequence: int | None = None

        def number() -> int:
            nonlocal at
            value = shift = 0
            while True:
                if at >= len(record):
                    raise ValueError("a version edit is cut short")
                byte = record[at]
                at += 1
                value |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    return value

        def text() -> None:
            nonlocal at
            size = number()
            at += size

        while at < len(record):
            match number():
                case 1:  # comparator
                    text()
                case 2:
                    log = number()
                case 3:  # next file
                    number()
                case 4:
                    sequence = number()
                case 5:  # compaction pointer
                    number()
                    text()
                case 6:  # deleted table
                    number()
                    number()
                case 7:  # new table
                    number()
                    number()
                    number()
                    text()
                    text()
                case 9:
                    self.previous_log = number()
                case tag:
                    raise ValueError(f"a version edit has the unknown tag {tag}")
        if sequence is not None:
            self.sequence = max(self.sequence, sequence)
            if log is None:
                self.past_logs = sequence
        if log not in (None, self.log):
            self.log, self.before_log = log, self.sequence


def unread(directory: Path) -> list[str]:
    """Sentences on what LevelDB will leave out when it opens the directory. OSError.

    Nothing is told of a directory that LevelDB itself will refuse. Tables that the manifest does
    not name are what a compaction was making; if its last records are lost, the log is missing, or
    tables that they have replaced are.
    """
    name = (directory / "CURRENT").read_text("ascii", "replace").rstrip("\n")
    try:
        manifest = Manifest((directory / Path(name).name).read_bytes())
    except (FileNotFoundError, IsADirectoryError, ValueError):
        return []
    told = manifest.records.lost(name)
    logs = {
        int(found[1]): path
        for path in directory.iterdir()
        if (found := LOG_NAME.fullmatch(path.name))
    }
    live = {n for n in logs if n >= manifest.log or n == manifest.previous_log}
    if manifest.log and manifest.log not in logs:
        told.append(f"the log {manifest.log:06}.log is missing")
    told += _lost_by_logs([logs[n] for n in sorted(live)], manifest, name)
    return told


def _lost_by_logs(live: Sequence[Path], manifest: Manifest, manifest_name: str) -> list[str]:
    """Sentences on bytes that are no records, and on holes between the changes of the live logs."""
    told: list[str] = []
    last = max(manifest.before_log, manifest.past_logs)
    begun = False
    empty: list[Path] = []
    for log in live:
        records = LogRecords(log.read_bytes())
        lacking, holds_any = 0, False
        for record in records:
            first = int.from_bytes(record[:8], "little")
            count = int.from_bytes(record[8:12], "little")
            lacking += max(0, first - last - 1)
            # From the first record on the logs say it better than the manifest. goleveldb uses
            # numbers again after a write that it could not sync.
            last = max(last if begun else manifest.past_logs, first + count - 1)
            begun = holds_any = True
        told += records.lost(log.name)
        if not manifest.log:
            continue  # it was repaired, or made just now: where its logs begin is unknown
        if lacking:
            told.append(f"{log.name} lacks {counted(lacking, 'change')} before a record")
        if holds_any:
            # A log that is full makes place for the next one, an empty log does not.
            told += [f"{each.name} is empty, but {log.name} follows it" for each in empty]
            empty.clear()
        else:
            empty.append(log)
    if manifest.log and last < manifest.sequence:
        lacking = manifest.sequence - last
        told.append(f"the logs lack the last {counted(lacking, 'change')} of {manifest_name}")
    return told
