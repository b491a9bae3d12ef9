"""Files that a person edits: settings, lists, passwords, tokens, keys."""

from pathlib import Path

MAX_EDITED_FILE = 4 << 20
"""Bytes of an edited file that are read. A list of 20,000 nodes has 4 MB."""

BLANK = " \t\r\n"


def read_edited(path: Path) -> str:
    """The text of an edited file. OSError, or ValueError that does not show the content."""
    with path.open("rb") as file:
        raw = file.read(MAX_EDITED_FILE + 1)
    if len(raw) > MAX_EDITED_FILE:
        raise ValueError(f"it has more than {MAX_EDITED_FILE} bytes")
    return edited_text(raw)


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
