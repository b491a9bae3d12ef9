"""The ranges of time of which an archive lacks envelopes."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakumail.archive import gaps as module
from wakumail.archive.gaps import MIN_ABSENCE, RELAY_TIME, Gap, Gaps
from wakumail.waku.envelope import MAX_TIME

NOW = 1_764_400_000


def gaps_at(tmp_path: Path, now: int = NOW, newest: int | None = None, shown: int = 0) -> Gaps:
    """The gaps of a server that starts at `now`, and is seen to run."""
    gaps = Gaps(tmp_path / "gaps.json", newest=newest, shown=shown, now=now)
    gaps.stamp(now, now)
    return gaps


def test_a_new_archive_has_none(tmp_path: Path) -> None:
    gaps = gaps_at(tmp_path)
    assert gaps.known == ()
    assert gaps.seconds == 0


def test_an_absence(tmp_path: Path) -> None:
    gaps_at(tmp_path)
    [gap] = gaps_at(tmp_path, NOW + 3600).known
    assert (gap.lower, gap.upper) == (NOW - RELAY_TIME, NOW + 3600)
    assert "did not run" in gap.reason
    [again] = gaps_at(tmp_path, NOW + 3601).known
    assert again == gap


def test_a_restart_is_none(tmp_path: Path) -> None:
    gaps_at(tmp_path)
    again = gaps_at(tmp_path, NOW + MIN_ABSENCE)
    assert again.known == ()
    assert again.since == NOW


def test_the_newest_envelope_is_the_last_sign_of_life_without_a_file(tmp_path: Path) -> None:
    """An old archive that was imported or restored."""
    assert gaps_at(tmp_path, newest=NOW - 86400).known[0].lower == NOW - 86400 - RELAY_TIME


def test_a_clock_that_was_ahead(tmp_path: Path) -> None:
    gaps_at(tmp_path, NOW + 86400)
    gaps = gaps_at(tmp_path)
    assert gaps.known == ()
    assert gaps.since == NOW


def test_a_clock_that_was_ahead_hides_no_absence(tmp_path: Path) -> None:
    """The server was killed before the clock was set: the absence is that since it ran."""
    gaps_at(tmp_path, NOW - 3600)
    gaps_at(tmp_path, NOW + 62 * 86400)
    [gap] = gaps_at(tmp_path, NOW, newest=NOW - 9999).known
    assert (gap.lower, gap.upper) == (NOW - 3600 - RELAY_TIME, NOW)


def test_of_a_time_to_come_the_newest_envelope_tells_better(tmp_path: Path) -> None:
    gaps_at(tmp_path, NOW + 62 * 86400)
    [gap] = gaps_at(tmp_path, NOW, newest=NOW - 3600).known
    assert (gap.lower, gap.upper) == (NOW - 3600 - RELAY_TIME, NOW)


def test_a_clock_that_is_behind_ends_no_gap(tmp_path: Path) -> None:
    gaps_at(tmp_path, NOW - 3 * 86400)
    [gap] = gaps_at(tmp_path).known
    assert gaps_at(tmp_path, NOW - 86400, newest=NOW, shown=NOW).known == (gap,)


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", '{"since": 1, "alive": "x", "gaps": []}',
     '{"since": 1, "alive": -1, "gaps": []}', '{"since": 1, "alive": 5, "gaps": [[1, 2]]}',
     '{"since": "x", "alive": 5, "gaps": []}',
     '{"since": 1, "alive": 5, "gaps": [[1, 4294967296, "x"]]}',
     '{"since": 1, "alive": 5, "gaps": 7}', "\x00" * 100],
)  # fmt: skip
def test_a_damaged_file_is_said_and_left_out(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "gaps.json").write_text(content)
    assert gaps_at(tmp_path).known == ()
    assert "gaps.json is left out" in caplog.text
    saved = json.loads((tmp_path / "gaps.json").read_text())
    assert saved == {"since": NOW, "alive": NOW, "trusted": NOW, "gaps": []}


def test_a_file_that_cannot_be_written_tells_too_much(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    gaps = gaps_at(directory)
    away = directory.rename(tmp_path / "away")
    gaps.stamp(NOW + 3600, NOW)
    away.rename(directory)
    assert gaps_at(directory, NOW + 3700).seconds == 3700 + RELAY_TIME + 1


@given(st.lists(st.tuples(st.booleans(), st.integers(100, 300), st.integers(0, 60))))
def test_adding_and_filling(steps: list[tuple[bool, int, int]]) -> None:
    """Seconds are those of a set."""
    gaps = Gaps(Path("none"), newest=None, shown=0, now=NOW)
    model: set[int] = set()
    for adds, start, length in steps:
        if adds:
            gaps.add(start, start + length, "x")
            model |= {*range(start - RELAY_TIME, start + length + 1)}
        else:
            gaps.fill(start, start + length)
            model -= {*range(start, start + length + 1)}
        assert {t for gap in gaps.known for t in range(gap.lower, gap.upper + 1)} == model
        assert gaps.seconds == len(model)


def test_filling_all_of_time(tmp_path: Path) -> None:
    gaps = gaps_at(tmp_path, newest=0)
    gaps.add(MAX_TIME, MAX_TIME + 1000, "at the end of time")
    assert gaps.known[-1].upper == MAX_TIME
    gaps.fill(0, MAX_TIME)
    assert gaps.known == ()


def test_their_number_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_GAPS", 3)
    gaps = gaps_at(tmp_path)
    for start in (1000, 2000, 4000, 4400, 9000):
        gaps.add(start, start + 1, "x")
    assert [(gap.lower, gap.upper) for gap in gaps.known] == [
        (940, 2001),
        (3940, 4401),
        (8940, 9001),
    ]
    gaps.stamp(NOW, NOW)
    assert gaps_at(tmp_path).known == gaps.known
    assert all(isinstance(gap, Gap) for gap in gaps.known)
