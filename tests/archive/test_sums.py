"""The sums of minutes and days, against sums in plain Python, however envelopes come and go."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.archive_damage import edit, plus
from tests.support.archive_model import (
    DAY,
    START,
    batch_of,
    check_sums,
    envelope,
    everything,
    make,
    number,
    read_tables,
)
from wakumail.archive.archive import Archive
from wakumail.waku.envelope import Envelope

EDGES = [0, 1, 59, 60, 61, 3599, 3600, DAY - 61, DAY - 60, DAY - 1, DAY, DAY + 59, 2 * DAY]
SECONDS = st.one_of(st.sampled_from(EDGES), st.integers(0, 3 * DAY))
LAST = 2**32 - 1


def check(archive: Archive) -> None:
    """Check all sums against the envelopes that the archive still tells of."""
    check_sums(read_tables(Path(archive.path)), everything(archive))


def pruned(archive: Archive, before: int, *, limit: int) -> int:
    """Prune `limit` envelopes, in as many slices as their chunks take; return how many went."""
    gone, more = 0, True
    while more and gone < limit:
        part = archive.prune(before, limit=limit - gone)
        gone, more = gone + part.envelopes, part.more
    return gone


@given(
    st.lists(
        st.one_of(
            st.lists(st.tuples(SECONDS, st.integers(0, 9)), min_size=1, max_size=40),
            st.tuples(SECONDS, st.integers(1, 12)),
        ),
        max_size=10,
    )
)
@settings(max_examples=12, deadline=None)
def test_sums_follow_appends_and_prunes(
    tmp_path_factory: pytest.TempPathFactory,
    actions: list[list[tuple[int, int]] | tuple[int, int]],
) -> None:
    """Bounds of pruning lie within minutes, slices end within minutes and seconds."""
    horizon = 0
    with Archive(tmp_path_factory.mktemp("sums"), sync=False) as archive:
        for action in actions:
            if isinstance(action, tuple):
                before = everything(archive)
                archive.prune(START + action[0], limit=action[1])
                gone = {each.created for each in before} - {
                    each.created for each in everything(archive)
                }
                cut = {each.created for each in set(before) - set(everything(archive))} - gone
                horizon = max([horizon, *(each + 1 for each in gone), *cut])
            else:
                made = [envelope(START + second, b"sums", each) for second, each in action]
                archive.append([batch_of(made)])
            assert archive.stat().pruned == horizon
            with archive.verify() as verification:
                assert sum(verification) == verification.total
                assert verification.describe() == []
        check(archive)


def test_a_second_with_five_thousand_is_pruned_in_slices(tmp_path: Path) -> None:
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(envelope(START + 30, b"crow", each) for each in range(5000))])
        archive.append([batch_of(make(50, first=9000, start=START + 40, spread=60))])
        for _ in range(3):
            assert pruned(archive, START + DAY, limit=700) == 700
            assert archive.stat().pruned == START + 30
            check(archive)
        assert pruned(archive, START + DAY, limit=2900) == 2900
        assert archive.stat().pruned == START + 31
        check(archive)
        assert pruned(archive, START + DAY, limit=10_000) == 50
        assert archive.stat().sums == 0


def test_the_last_second_has_its_sum(tmp_path: Path) -> None:
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(envelope(LAST - each // 3, b"last", each) for each in range(100))])
        assert list(read_tables(tmp_path)["sums"]) == [
            (LAST // 60 - 1).to_bytes(4, "big"),
            (LAST // 60).to_bytes(4, "big"),
        ]
        check(archive)
        archive.prune(LAST - 5, limit=1000)
        check(archive)
        archive.prune(2**32, limit=7)
        check(archive)
        assert archive.prune(2**32, limit=1000).more is False
        assert archive.stat().pruned == LAST
        assert read_tables(tmp_path)["sums"] == {}


def test_the_horizon_is_what_was_deleted_not_what_was_asked_for(tmp_path: Path) -> None:
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of([envelope(START + each, b"each", each) for each in (5, 90, 999)])])
        archive.prune(START + 5, limit=10)
        assert archive.stat().pruned == 0
        archive.prune(START + 800, limit=10)
        assert archive.stat().pruned == START + 91
        archive.append([batch_of([envelope(START + 2, b"late", 0)])])
        archive.prune(START + 50, limit=10)
        assert archive.stat().pruned == START + 91
        archive.prune(START + DAY, limit=10)  # a whole day
        assert archive.stat().pruned == START + 1000
        archive.copy(tmp_path / "copy")
    with Archive(tmp_path / "copy", readonly=True) as archive:
        assert archive.stat().pruned == START + 1000


def test_envelopes_are_taken_and_pruned_whatever_the_sums_say(tmp_path: Path) -> None:
    """Damaged sums stay damaged until their minutes and days are gone; nothing else suffers."""
    source = random.Random(5)
    stored = make(400, spread=1200)
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(stored)])
    rows = list(read_tables(tmp_path)["sums"].items())
    damage = [None, b"", bytes(35), bytes(36), b"\xff" * 36, bytes(3) + b"\x01" + bytes(32)]
    edit([(tmp_path, ("sums", key, source.choice(damage))) for key, _ in rows])
    key, value = next(iter(read_tables(tmp_path)["days"].items()))
    edit([(tmp_path, ("days", key, value[:28] + plus(value[28:])))])
    with Archive(tmp_path, sync=False) as archive:
        more = make(400, first=1000, spread=1200)
        assert archive.append([batch_of(more)]).stored == 400
        left = sorted(each.created for each in [*stored, *more])
        for before, limit in ((START + 30, 5), (START + 333, 41), (START + 601, 999), (LAST, 99)):
            gone = pruned(archive, before, limit=limit)
            assert gone == min(limit, sum(each < before for each in left))
            left = left[gone:]
            assert sorted(each.created for each in everything(archive)) == left
        with archive.verify() as verification:
            assert sum(verification) > 0
            assert any("sum" in each for each in verification.describe())
        while archive.prune(START + DAY, limit=1000).more:
            pass
        archive.append([batch_of(make(100, start=START + 3 * DAY))])
        check(archive)


def test_a_sum_that_was_wrong_is_wrong_until_its_minute_is_gone(tmp_path: Path) -> None:
    made: list[Envelope] = make(100, spread=180)
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(made)])
    key, value = next(iter(read_tables(tmp_path)["sums"].items()))
    edit([(tmp_path, ("sums", key, value[:-1] + plus(value[-1:])))])
    with Archive(tmp_path, sync=False) as archive:
        archive.prune(START + 30, limit=1000)
        with archive.verify() as verification:
            assert sum(verification) > 0
            minute = f"(day {number(key) // 1440}, key {key.hex()})"
            assert verification.describe() == [f"`sums` has another sum for a minute {minute}"]
