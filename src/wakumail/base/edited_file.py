"""Files that a person edits: settings, lists, passwords, tokens, keys."""

import os
import select
from pathlib import Path

from wakumail.base.regular_file import open_regular

MAX_EDITED_FILE = 4 << 20
"""Bytes of an edited file that are read. A list of 20,000 nodes has 4 MB."""

PIPE_TIMEOUT = 60
"""Seconds that the writer of a pipe may be silent; a file is read at once."""

BLANK = " \t\r\n"


def read_edited(path: Path, *, pipe: bool = True) -> str:
    """The text of an edited file. OSError, or ValueError that does not show the content.

    pipe: it may be a pipe, or a device. A file that we write ourselves may not.
    """
    raw = b""
    opener = open_at_once if pipe else open_regular
    with open(path, "rb", buffering=0, opener=opener) as file:
        ready = select.poll()
        ready.register(file, select.POLLIN)
        while len(raw) <= MAX_EDITED_FILE:
            if not ready.poll(PIPE_TIMEOUT * 1000):
                raise ValueError(f"it is a pipe into which nobody wrote for {PIPE_TIMEOUT} s")
            part = file.read(MAX_EDITED_FILE + 1 - len(raw))
            if part == b"":
                return edited_text(raw)
            raw += part or b""  # None if another reader was faster
    raise ValueError(f"it has more than {MAX_EDITED_FILE} bytes")


def open_at_once(path: str, flags: int) -> int:
    """Open a file for `open`. That of a pipe would wait for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def edited_text(raw: bytes) -> str:
    """The text of UTF-8 without what editors add; ValueError that does not show the content.

    A byte-order mark and blanks at both ends are left out, and lines end in LF.
    """
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("it is UTF-16: save it as UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    return text.replace("\r\n", "\n").strip(BLANK)
