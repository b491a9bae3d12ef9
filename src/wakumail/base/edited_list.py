"""JSON lists that a person edits."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from wakumail.base.edited_file import read_edited
from wakumail.base.json_text import parse_json

T = TypeVar("T")


class EditedList(NamedTuple, Generic[T]):
    """A list in a file, with its malformed items apart."""

    items: list[T]
    malformed: list[str]
    """A sentence for each: the file, the number of the item and the fault."""

    @classmethod
    def read(cls, path: Path, parse: Callable[[str], T]) -> "EditedList[T]":
        """Read a file; `parse` raises ValueError for a malformed item.

        OSError, or ValueError that names the file, for one that is no JSON list.
        """
        try:
            texts = parse_json(read_edited(path))
            if not isinstance(texts, list):
                raise ValueError("it is no JSON list")
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        found = cls([], [])
        for number, text in enumerate(texts, 1):
            try:
                if not isinstance(text, str):
                    raise ValueError("it is no string")
                found.items.append(parse(text))
            except ValueError as error:
                found.malformed.append(f"{path}: item {number}: {error}")
        return found
