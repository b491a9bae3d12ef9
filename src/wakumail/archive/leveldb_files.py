"""The files of a LevelDB, checked for what LevelDB leaves out without a word.

LevelDB reports tables and records with a wrong checksum. It takes a log that ends inside a record
for one whose writer was killed, and reads a directory whose log is gone. Formats: LevelDB's
log_format.md and version_edit.cc.
"""

import re
from collections.abc import Iterator
from pathlib import Path

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
                at += room  # space that was reserved
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


class Manifest:
    """The oldest log that a manifest names. ValueError if it cannot be read."""

    def __init__(self, data: bytes) -> None:
        self.log = self.previous_log = 0
        records = LogRecords(data)
        for record in records:
            self._edit(record)
        self.cut = records.cut

    def _edit(self, record: bytes) -> None:
        """Apply a version edit."""
        at = 0

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
                    self.log = number()
                case 3 | 4:  # next file, last sequence
                    number()
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
    told = [f"{name} ends in {manifest.cut} bytes of a cut record"] if manifest.cut else []
    logs = {
        int(found[1]): path
        for path in directory.iterdir()
        if (found := LOG_NAME.fullmatch(path.name))
    }
    live = {n for n in logs if n >= manifest.log or n == manifest.previous_log}
    if manifest.log and manifest.log not in logs:
        told.append(f"the log {manifest.log:06}.log is missing")
    for n in sorted(live):
        records = LogRecords(logs[n].read_bytes())
        for _ in records:
            pass
        if records.cut:
            told.append(f"{logs[n].name} ends in {records.cut} bytes of a cut record")
    return told
