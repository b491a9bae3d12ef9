"""JSON lists that a person edits: a malformed item costs none of the others."""

import json
from pathlib import Path

import pytest

from wakumail.base.edited_list import EditedList


def test_malformed_items_are_told_by_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text(json.dumps(["1", "x", 2, "3"]), "utf-8-sig")
    items, malformed = EditedList.read(path, int)
    assert items == [1, 3]
    assert malformed == [
        f"{path}: item 2: invalid literal for int() with base 10: 'x'",
        f"{path}: item 3: it is no string",
    ]


@pytest.mark.parametrize(
    ("content", "fault"),
    [("{}", "it is no JSON list"), ("", "Expecting value"), ("\ufeff[", "Expecting value")],
)
def test_another_file_is_refused_by_its_name(tmp_path: Path, content: str, fault: str) -> None:
    path = tmp_path / "list"
    path.write_text(content, "utf-8")
    with pytest.raises(ValueError, match=fault) as caught:
        EditedList.read(path, int)
    assert str(caught.value).startswith(f"{path}: ")
