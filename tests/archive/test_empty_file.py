"""An empty data.mdb: readers refuse it, writers warn and begin a new archive."""

import logging
from pathlib import Path

import pytest

from tests.support.archive_model import batch_of, make
from tests.support.damaged_files import COMMANDS
from wakumail.archive.archive import Archive
from wakumail.archive.datadir import Datadir
from wakumail.cli.command_line import main
from wakumail.errors import ArchiveError

WRITING = {"prune", "prune all"}


@pytest.fixture
def emptied(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    with Archive(path / "archive", sync=False) as archive:
        archive.append([batch_of(make(3))])
    (path / "archive" / "data.mdb").write_bytes(b"")
    return path


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - WRITING))
def test_commands_that_read_refuse_it(
    emptied: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = COMMANDS[command]
    more = [str(tmp_path / "copy")] if command == "backup" else []
    assert main(["archive", words[0], "--datadir", str(emptied), *words[1:], *more]) == 1
    assert "data.mdb is empty" in capsys.readouterr().err
    assert (emptied / "archive" / "data.mdb").read_bytes() == b""


def test_a_reader_begins_nothing(emptied: Path) -> None:
    with pytest.raises(ArchiveError, match="is empty; if it held envelopes, restore a backup"):
        Archive(emptied / "archive", readonly=True)


def test_writers_warn_once_and_begin_a_new_archive(
    emptied: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for expected in (1, 0):
        caplog.clear()
        with (
            caplog.at_level(logging.WARNING),
            Datadir(emptied).serving(),
            Archive(emptied / "archive") as archive,
        ):
            archive.append([batch_of(make(3))])
            assert archive.stat().envelopes == 3
        told = [text for text in caplog.messages if "is empty: a new archive begins" in text]
        assert len(told) == expected


def test_a_new_data_directory_is_no_reason_to_warn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Datadir(tmp_path).writing():
        Archive(tmp_path / "archive").close()
    assert caplog.messages == []
