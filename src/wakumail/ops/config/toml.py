"""Settings written as TOML, with a comment behind each."""

import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from wakumail.ops.config.setting import Plain

LINE = 100
"""Characters above which a list takes a line for each of its items."""


class Line(NamedTuple):
    """A key with its table, its value, and where that comes from; without a value all comment."""

    key: str
    value: Plain | None
    comment: str


def document(lines: Iterable[Line]) -> str:
    """A TOML document; lines of one table have to follow each other."""
    return "".join(f"{text}\n" for text in _texts(lines))


def comment(text: str) -> str:
    """A comment; what could end it, or steer a terminal, is a `?`."""
    return "# " + "".join(c if c.isprintable() else "?" for c in text)


def literal(value: Plain) -> str:
    """A value; nothing but its own quotes ends a string."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            # TOML escapes as JSON does, but DEL too.
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
