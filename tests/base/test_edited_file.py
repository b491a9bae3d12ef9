"""Files that a person edits: what editors add is no part of them."""

import os
from pathlib import Path
from threading import Thread

import pytest

from tests.support.patience import PATIENCE
from wakumail.base import edited_file as module
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


@pytest.mark.parametrize("size", [0, 10, 1 << 20])
def test_a_pipe_is_read_to_its_end(tmp_path: Path, size: int) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = Thread(target=path.write_bytes, args=(b"x" * size,))
    writer.start()
    assert read_edited(path) == "x" * size
    writer.join(PATIENCE)


def test_a_pipe_without_a_writer_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIPE_TIMEOUT", 0.01)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(ValueError, match=r"it is a pipe into which nobody wrote for 0.01 s"):
        read_edited(path)


def test_errors_of_the_system_name_the_file(tmp_path: Path) -> None:
    for path, kind in ((tmp_path, IsADirectoryError), (tmp_path / "x", FileNotFoundError)):
        with pytest.raises(kind) as caught:
            read_edited(path)
        assert str(caught.value.filename) == str(path)
