"""The envelopes of an archive in the order of arrival: what is damaged or pruned is left out."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.archive_damage import break_envelope, edit, flip_data
from tests.support.archive_model import DAY, SORTED, START, batch_of, make, order, read_tables
from wakumail.archive import arrivals as arrivals_module
from wakumail.archive.archive import Archive
from wakumail.archive.arrivals import Damage, arrivals
from wakumail.waku.envelope import Envelope, parse_stream


def read(path: Path) -> tuple[list[Envelope], Damage]:
    """All envelopes, and what was met; each run must say its number."""
    damage = Damage()
    found: list[Envelope] = []
    with Archive(path, readonly=True) as archive:
        for run in arrivals(archive, 0, damage):
            envelopes = list(parse_stream(run.batch.raw, final=True)[0])
            assert len(envelopes) == len(run.batch)
            found += envelopes
        assert run.following == archive.stat().next_sequence
    return found, damage


def store(path: Path, *commits: Sequence[Envelope]) -> list[Envelope]:
    """Store them; returns all in the order of arrival."""
    with Archive(path) as archive:
        for commit in commits:
            archive.append([batch_of(commit)])
    return [each for commit in commits for each in sorted(commit, key=order)]


@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_damaged_envelopes_are_left_out(
    tmp_path: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals_module, "STEPS", steps)
    stored = store(tmp_path, make(300), make(300, first=300))
    assert read(tmp_path) == (stored, Damage())
    flip_data(tmp_path, stored[100])
    assert read(tmp_path) == (stored[:100] + stored[101:], Damage(1))
    for place in (0, 200, 201, 599):
        break_envelope(tmp_path, stored[place])
    assert read(tmp_path) == (stored[1:100] + stored[101:200] + stored[202:599], Damage(5))


def test_a_damaged_chunk_is_left_out(tmp_path: Path) -> None:
    stored = store(tmp_path, make(300), make(300, first=300))
    key, value = list(read_tables(tmp_path)["chunks"].items())[2]
    last, count = int.from_bytes(key[2:], "big"), int.from_bytes(value[:4], "big")
    edit([(tmp_path, ("chunks", key, value[:-1]))])
    found, damage = read(tmp_path)
    assert found == stored[: last + 1 - count] + stored[last + 1 :]
    assert damage == Damage(count)


def test_pages_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    stored = store(tmp_path, make(300), make(1, first=300, size=9000))
    content = bytearray((tmp_path / "data.mdb").read_bytes())
    page = content.index(stored[-1].rlp) // 4096 * 4096
    content[page : page + 16] = bytes(16)
    (tmp_path / "data.mdb").write_bytes(content)
    assert read(tmp_path) == (stored[:-1], Damage(1))


def test_a_damaged_index_leaves_nothing_out(tmp_path: Path) -> None:
    stored = store(tmp_path, make(300))
    keys = list(read_tables(tmp_path)["times"])
    edit([(tmp_path, ("times", keys[7], b"short"))])
    found, damage = read(tmp_path)
    assert found == stored
    assert damage == Damage(unchecked=1)


def test_what_is_pruned_and_not_yet_deleted_is_left_out(tmp_path: Path) -> None:
    old, new = make(30, spread=DAY), make(30, first=100, start=START + DAY // 2, spread=DAY // 4)
    store(tmp_path, old + new)
    with Archive(tmp_path) as archive:
        archive.prune(START + DAY // 2, limit=10)
        followed, _ = archive.follow(0, max_bytes=1 << 20)
        left = archive.stat().envelopes
        assert len(parse_stream(followed, final=True)[0]) > left == 50
    found, damage = read(tmp_path)
    assert not damage
    assert set(found) == set(sorted(old + new, key=order)[10:])


@pytest.mark.parametrize("is_sorted", [False, True])
def test_pruning_that_ends_within_a_second_is_no_damage(tmp_path: Path, is_sorted: bool) -> None:
    stored = store(tmp_path, make(30, spread=1))
    with Archive(tmp_path, sync=False) as archive:
        while is_sorted and archive.sort(START, max_bytes=1 << 20, max_seconds=60).more:
            pass
        archive.prune(START + DAY, limit=10)
    assert read(tmp_path) == (stored[10:], Damage())


@pytest.mark.parametrize("is_sorted", [False, True])
def test_what_was_pruned_and_came_again_is_read_once(tmp_path: Path, is_sorted: bool) -> None:
    stored = store(tmp_path, make(30))
    with Archive(tmp_path, sync=False) as archive:
        while is_sorted and archive.sort(START, max_bytes=1 << 20, max_seconds=60).more:
            pass
        archive.prune(START + 3 * DAY, limit=5)
    again = store(tmp_path, stored[2:5])
    assert read(tmp_path) == (stored[5:] + again, Damage())
    copy = tmp_path / "copy"  # it has nothing stale
    with Archive(tmp_path, readonly=True) as archive:
        archive.copy(copy)
    flip_data(copy, stored[20])
    assert read(copy) == (stored[5:20] + stored[21:] + again, Damage(1))


@pytest.mark.parametrize("is_sorted", [False, True])
def test_what_was_pruned_before_a_damaged_chunk_is_no_damage(
    tmp_path: Path, is_sorted: bool
) -> None:
    """There are no chunks, or only slots that say so."""
    stored = store(tmp_path, sorted(make(600, spread=DAY, size=200), key=order))
    with Archive(tmp_path, sync=False) as archive:
        while archive.prune(stored[300].created, limit=300).more:
            pass
        while is_sorted and archive.sort(START, max_bytes=1 << 20, max_seconds=60).more:
            pass
    assert read(tmp_path) == (stored[300:], Damage())
    chunks = read_tables(tmp_path)["chunks"]
    rows = {int.from_bytes(key[2:], "big"): key for key in chunks}
    wanted = sorted(last for last in rows if last < SORTED)
    if is_sorted:
        edit([(tmp_path, ("chunks", rows[last], b"")) for last in rows if last >= SORTED])
        assert read(tmp_path) == ([], Damage(300))
    else:
        key = rows[wanted[0]]
        edit([(tmp_path, ("chunks", key, chunks[key][:-1]))])
        left = int.from_bytes(chunks[key][:4], "big")
        assert read(tmp_path) == (stored[wanted[0] + 1 :], Damage(left))
        edit([(tmp_path, ("chunks", key, b""))])
        assert read(tmp_path) == (stored[wanted[0] + 1 :], Damage(1))


def test_a_damaged_chunk_of_a_sorted_day_is_left_out(tmp_path: Path) -> None:
    stored = store(tmp_path, make(300, spread=DAY))
    with Archive(tmp_path, sync=False) as archive:
        while archive.sort(START, max_bytes=1 << 20, max_seconds=60).more:
            pass
    assert read(tmp_path) == (stored, Damage())
    chunks = read_tables(tmp_path)["chunks"].items()
    key, value = next(row for row in chunks if int.from_bytes(row[0][2:], "big") >= SORTED)
    count = int.from_bytes(value[:4], "big")
    lost = set(parse_stream(value[4 + 4 * count :], final=True)[0])
    edit([(tmp_path, ("chunks", key, value[:-1]))])
    assert read(tmp_path) == ([each for each in stored if each not in lost], Damage(len(lost)))
