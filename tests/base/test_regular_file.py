"""Files that have to be regular ones: anything else is an error at once."""

import os
import stat
from pathlib import Path

import pytest

from wakumail.base.edited_file import read_edited
from wakumail.base.regular_file import open_regular, read_regular


@pytest.mark.parametrize("kind", ["fifo", "folder", "socket", "device"])
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_CREAT])
def test_other_files_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, flags: int
) -> None:
    monkeypatch.chdir(tmp_path)
    match kind:
        case "fifo":
            os.mkfifo("it")
        case "folder":
            os.mkdir("it")
        case "socket":
            os.mknod("it", stat.S_IFSOCK | 0o600)
        case "device":
            os.symlink("/dev/null", "it")
    with pytest.raises(OSError, match=r"it is not a regular file: 'it'"):
        open_regular("it", flags)
    if not flags:
        with pytest.raises(OSError, match=r"it is not a regular file"):
            read_edited(Path("it"), pipe=False)


def test_a_regular_file_is_made_for_the_owner_and_read(tmp_path: Path) -> None:
    os.close(open_regular(tmp_path / "made", os.O_RDWR | os.O_CREAT))
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o600
    (tmp_path / "made").write_bytes(b"content")
    (tmp_path / "link").symlink_to("made")
    assert read_regular(tmp_path / "link") == b"content"
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "missing")
