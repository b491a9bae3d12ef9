"""Files that a person edits: what editors add is no part of them."""

from pathlib import Path

import pytest

from wakumail.base.edited_file import MAX_EDITED_FILE, read_edited


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", ""),
        (b" \t\r\n", ""),
        (b"one", "one"),
        (b"\xef\xbb\xbfone\r\n", "one"),
        (b"\n\n  one two \n\n", "one two"),
        (b"one\r\n two\r\n", "one\n two"),
        ("\u00e9\u00a0".encode(), "\u00e9\u00a0"),
        (b"o\xef\xbb\xbfne", "o\ufeffne"),
    ],
)
def test_text(tmp_path: Path, raw: bytes, text: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(raw)
    assert read_edited(path) == text


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        ("secret".encode("utf-16"), "UTF-16"),
        (b"secret\xff", "it is not UTF-8"),
        (b"s" * (MAX_EDITED_FILE + 1), "more than"),
    ],
)
def test_other_files_are_refused_without_their_content(
    tmp_path: Path, raw: bytes, fault: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=fault) as caught:
        read_edited(path)
    assert "s" * 6 not in str(caught.value)
    assert "secret" not in str(caught.value)
