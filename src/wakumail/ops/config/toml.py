"""Settings written as TOML, with a comment behind each."""

import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from wakumail.ops.config.setting import Plain

LINE = 100
"""Most characters of a list in one line; a longer one has a line for each item."""


class Line(NamedTuple):
    """A key with its table, its value and a comment; without a value it is all comment."""

    key: str
    value: Plain | None
    comment: str


def document(lines: Iterable[Line]) -> str:
    """A TOML document; the lines of one table must be adjacent."""
    return "".join(f"{text}\n" for text in _texts(lines))


def comment(text: str) -> str:
    """A comment; characters that could end it or control a terminal become `?`."""
    return "# " + "".join(c if c.isprintable() else "?" for c in text)


def literal(value: Plain) -> str:
    """A value as TOML; escapes keep a string from ending early."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            # TOML escapes like JSON, and DEL as well.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list():
            items = [literal(item) for item in value]
            row = f"[{', '.join(items)}]"
            rows = "".join(f"    {item},\n" for item in items)
            return row if len(row) <= LINE else f"[\n{rows}]"
        case _:
            return str(value)


def _texts(lines: Iterable[Line]) -> Iterator[str]:
    table = ""
    for line in lines:
        prefix, _, name = line.key.rpartition(".")
        if prefix != table:
            table = prefix
            yield f"\n[{table}]"
        if line.value is None:
            yield comment(f"{name}: {line.comment}")
        else:
            yield f"{name} = {literal(line.value)}  {comment(line.comment)}"
