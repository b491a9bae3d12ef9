"""Imports and merges tell of envelopes of a time to come."""

import time
from pathlib import Path

import pytest

from tests.support.commands import call
from tests.support.envelopes import dump, make

TOPICS = [b"topi"]
DAY = 86400


@pytest.mark.parametrize("command", ["import", "merge"])
def test_envelopes_of_a_time_to_come_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    later = make(10, TOPICS, created=int(time.time()) + 400 * DAY)
    content = dump(later + make(5, TOPICS, seed=2))
    call("archive", "import", "--datadir", tmp_path / "data", stdin=content)
    if command == "merge":
        capsys.readouterr()
        call("archive", "merge", "--datadir", tmp_path / "other", tmp_path / "data")
    told = "10 envelopes of the archive were created later than now by this clock"
    assert told in capsys.readouterr().err
