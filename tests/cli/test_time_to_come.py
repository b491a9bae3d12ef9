"""The archive commands under a clock that is ahead, and with envelopes of a time to come."""

import time
from pathlib import Path

import pytest

from tests.support.commands import call, call_json
from tests.support.envelopes import dump, make
from wakumail.archive.retention import SHOWING

TOPICS = [b"topi"]
DAY = 86400


@pytest.mark.parametrize("strays", [0, SHOWING - 1])
def test_an_age_that_leaves_next_to_nothing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], strays: int
) -> None:
    """The clock is 62 days ahead, and takes posts meanwhile; an import has brought later ones."""
    flags = ["--datadir", tmp_path / "data"]
    now = int(time.time())
    old = make(200, TOPICS, created=now - 62 * DAY)
    new = make(strays, TOPICS, seed=2) + make(20, TOPICS, seed=3, created=now + 338 * DAY)
    call("archive", "import", *flags, stdin=dump(old + new))
    call("archive", "prune", *flags, "--before", "30d", check=1)
    assert "fewer than 10 envelopes would be left" in capsys.readouterr().err
    assert call_json("archive", "prune", *flags, "--before", "90d") == {"pruned": 0}
    assert call_json("archive", "prune", *flags, "--before", now - 30 * DAY) == {"pruned": 200}


def test_an_age_that_leaves_a_rest_is_obeyed(tmp_path: Path) -> None:
    flags = ["--datadir", tmp_path / "data"]
    old = make(20, TOPICS, created=int(time.time()) - 62 * DAY)
    call("archive", "import", *flags, stdin=dump(old + make(SHOWING, TOPICS, seed=2)))
    assert call_json("archive", "prune", *flags, "--before", "30d") == {"pruned": 20}
    assert call_json("archive", "prune", *flags, "--before", "30d") == {"pruned": 0}


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
