import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from wakumail.devp2p.keys import private_key
from wakumail.node.node_key import load_or_create_node_key

KEY = private_key(b"\x01" * 32)


def test_node_key_file_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "nodekey"
    key = load_or_create_node_key(path, os.urandom)
    assert path.read_text() == key.secret.hex() + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["nodekey"]
    assert load_or_create_node_key(str(path), no_random) == key


def test_node_key_file_of_another_process_wins(tmp_path: Path) -> None:
    path = tmp_path / "nodekey"

    def random(size: int) -> bytes:
        path.write_text(KEY.secret.hex())
        return os.urandom(size)

    assert load_or_create_node_key(path, random) == KEY
    assert os.listdir(tmp_path) == ["nodekey"]


@pytest.mark.parametrize("end", ["", "\n", "\r\n", " \n\n\n"])
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_node_key_file_is_read(tmp_path: Path, end: str, case: Callable[[str], str]) -> None:
    text = "ab" * 32
    path = tmp_path / "nodekey"
    path.write_bytes((case(text) + end).encode("utf-8-sig" if end else "utf-8"))
    assert load_or_create_node_key(path, no_random).secret.hex() == text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"ab" * 31,
        b"ab" * 33,
        b"0x" + b"ab" * 32,
        b"ab" * 31 + b" a",
        b"ab" * 31 + b"xy",
        b"00" * 32,
        b"ff" * 32,
        b"ab" * 32 + b"\n" * 2 + b"more",
        ("ab" * 32).encode("utf-16"),
        b"ab" * (4 << 20),
        b"ab" * 32 + b"\r\nx",
        b"\xff" * 64,
        bytes(range(200, 232)),
    ],
)
def test_node_key_file_with_other_content_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "nodekey"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="holds no node key") as caught:
        load_or_create_node_key(path, no_random)
    assert path.read_bytes() == content
    assert "abab" not in str(caught.value)


def test_node_key_file_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        load_or_create_node_key(tmp_path / "missing" / "nodekey", os.urandom)
    assert raised.value.filename == str(tmp_path / "missing")


def no_random(size: int) -> bytes:
    raise AssertionError("no new key was wanted")
