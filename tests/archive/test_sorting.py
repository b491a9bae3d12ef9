"""Sorting the days of an archive: equal to the model, whole at each slice, arrivals in order."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.archive.test_verify import verify_sound
from tests.support.archive_damage import flip_data
from tests.support.archive_model import (
    DAY,
    SORTED,
    START,
    Model,
    Terms,
    batch_of,
    check_answer,
    envelope,
    kill_python,
    make,
    order,
    read_tables,
)
from tests.support.independent import check_sound
from wakumail.archive.archive import Archive, Query
from wakumail.errors import ArchiveDamaged
from wakumail.waku.envelope import Envelope, parse_stream

TOPICS = [b"one.", b"two.", b"tri."]
SLICE = 3000
"""Bytes of envelopes in one slice: a few chunks at most."""


def sort_day(archive: Archive, day: int = START) -> int:
    """Sort a day to its end; returns the envelopes that were moved."""
    moved = 0
    while True:
        step = archive.sort(day, max_bytes=SLICE, max_seconds=60)
        assert step.day == day
        moved += step.envelopes
        if not step.more:
            return moved


def arrivals(archive: Archive, sequence: int = 0) -> list[bytes]:
    """The items in the order of arrival."""
    found: list[bytes] = []
    while True:
        items, following = archive.arrived(sequence, limit=7)
        found += [items[at : at + 36] for at in range(0, len(items), 36)]
        if following == sequence:
            return found
        sequence = following


def followed(archive: Archive, sequence: int = 0) -> list[Envelope]:
    """The envelopes in the order of arrival."""
    found: list[Envelope] = []
    while True:
        joined, sequence = archive.follow(sequence, max_bytes=1000)
        if not joined:
            return found
        found += parse_stream(joined, final=True)[0]


def item(each: Envelope) -> bytes:
    return each.created.to_bytes(4, "big") + each.hash


def test_a_sorted_day_has_one_topic_after_another(tmp_path: Path) -> None:
    every = make(300, spread=DAY, size=200)
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(every[:200])])
        archive.append([batch_of(every[200:])])
        before = archive.days()
        came = arrivals(archive)
        assert before[0].unsorted == 300
        assert archive.sorting() is None
        archive.sort(START, max_bytes=SLICE, max_seconds=60)
        assert archive.sorting() == START
        assert archive.days() == before, "copies do not count"
        assert sort_day(archive) == 300
        assert archive.sorting() is None
        assert archive.days() == [before[0]._replace(unsorted=0)]
        assert arrivals(archive) == came
        assert [item(each) for each in followed(archive)] == came
        assert arrivals(archive, 250) == came[250:]
        verify_sound(archive)
    rows = read_tables(tmp_path)
    keys = sorted(key for key in rows["chunks"] if int.from_bytes(key[2:], "big") >= SORTED)
    lying = [
        each
        for key in keys
        for each in parse_stream(
            rows["chunks"][key][4 + 4 * int.from_bytes(rows["chunks"][key][:4], "big") :],
            final=True,
        )[0]
    ]
    assert [(each.topic, *order(each)) for each in lying] == sorted(
        (each.topic, *order(each)) for each in every
    )
    assert set(rows["meta"]) == {b"format", b"next", b"pruned"}


def test_what_comes_later_is_sorted_behind_the_rest(tmp_path: Path) -> None:
    every = make(200, spread=DAY, size=200)
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(every[:120])])
        archive.sort(START, max_bytes=SLICE, max_seconds=60)
        archive.append([batch_of(every[120:140])])  # some before the bound, some behind it
        moved = sort_day(archive)
        assert 100 <= moved <= 140
        archive.append([batch_of(every[140:])])
        assert archive.days()[0].unsorted == 200 - moved
        assert sort_day(archive) == 200 - moved
        assert archive.days()[0].unsorted == 0
        came = sorted(every[:120], key=order) + sorted(every[120:140], key=order)
        came += sorted(every[140:], key=order)
        assert followed(archive) == came
        assert sort_day(archive) == 0
        verify_sound(archive)
    check_sound(tmp_path)


def test_an_envelope_that_is_pruned_while_its_day_is_sorted(tmp_path: Path) -> None:
    every = sorted(make(200, spread=DAY, size=200), key=order)
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(every)])
        for _ in range(12):  # copies all, and moves some
            archive.sort(START, max_bytes=SLICE * 2, max_seconds=60)
        archive.prune(every[90].created, limit=100)
        verify_sound(archive)
        sort_day(archive)
        verify_sound(archive)
        archive.append([batch_of(every[:10])])  # they come again
        verify_sound(archive)
        assert followed(archive)[-10:] == every[:10]
        assert arrivals(archive) == [item(each) for each in every[90:] + every[:10]]
    check_sound(tmp_path)
    with Archive(tmp_path, sync=False) as archive:
        while archive.prune(START + DAY, limit=30).more:
            pass
        assert archive.stat().envelopes == archive.stat().bytes == 0
        verify_sound(archive)
    rows = read_tables(tmp_path)
    assert not any(rows[name] for name in rows if name != "meta")


def test_a_day_with_a_damaged_envelope_stays_as_it_is(tmp_path: Path) -> None:
    every = make(200, spread=DAY, size=200)
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(every)])
    flip_data(tmp_path, every[7])
    with Archive(tmp_path, sync=False) as archive:
        with pytest.raises(ArchiveDamaged):
            sort_day(archive)
        assert archive.days()[0].envelopes == 200
        sound = [each for each in every if each != every[7]]
        assert set(sound) < set(followed(archive))
        page = archive.page_job(Query(0, 2**32 - 1), limit=1000, max_bytes=1 << 20).do()
        assert page.count == 200


def test_a_day_that_is_deleted_while_it_is_sorted(tmp_path: Path) -> None:
    every = make(200, spread=2 * DAY, size=200)
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(every)])
        archive.sort(START, max_bytes=SLICE, max_seconds=60)
        while archive.prune(START + DAY, limit=1000).more:
            pass
        assert archive.sorting() is None
        assert [day.start for day in archive.days()] == [START + DAY]
        assert sort_day(archive) == 0
        verify_sound(archive)


def test_bad_numbers_are_refused(tmp_path: Path) -> None:
    with Archive(tmp_path, sync=False) as archive:
        for start, max_bytes, max_seconds in (
            (-1, 1, 1.0),
            (2**32, 1, 1.0),
            (0, 0, 1.0),
            (0, 1, -1.0),
        ):
            with pytest.raises(ValueError, match="positive"):
                archive.sort(start, max_bytes=max_bytes, max_seconds=max_seconds)


def test_large_envelopes_have_chunks_of_their_own(tmp_path: Path) -> None:
    every = [
        envelope(START + n, TOPICS[n % 3], n, size)
        for n, size in enumerate([9000, 10, 70000, 50] * 5)
    ]
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(every)])
        assert sort_day(archive) == len(every)
        verify_sound(archive)
        model = Model()
        model.append(every)
        for topic in TOPICS:
            check_answer(archive, model, Terms(topics=[topic]))


SORT_FOREVER = """
import sys
from tests.support.archive_model import DAY, START, batch_of, make
from wakumail.archive.archive import Archive
late = [make(5, first=5000 + each, spread=DAY, size=300) for each in range(0, 500, 5)]
with Archive(sys.argv[1]) as archive:
    print("go", flush=True)
    while True:
        more = archive.sort(START, max_bytes=20_000, max_seconds=60).more
        if late:
            archive.append([batch_of(late.pop())])
        if not more and not late:
            break
    print("end", flush=True)
    sys.stdin.read()
"""


def test_a_sorting_that_was_killed_leaves_a_sound_archive_and_goes_on(tmp_path: Path) -> None:
    every = make(4000, spread=DAY, size=300)
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(every)])
    for kill in range(6):
        kill_python(SORT_FOREVER, tmp_path, after=random.random() * 0.03 * (kill + 1))
        with Archive(tmp_path, readonly=True) as archive:
            verify_sound(archive)
            assert archive.days()[0].envelopes >= len(every)
            came = arrivals(archive)
            assert came[:4000] == [item(each) for each in sorted(every, key=order)]
    with Archive(tmp_path, sync=False) as archive:
        sort_day(archive)
        sort_day(archive)  # what came meanwhile
        assert archive.days()[0].unsorted == 0
        verify_sound(archive)
        assert arrivals(archive) == came
    check_sound(tmp_path)


@given(seed=st.integers(0, 2**32), steps=st.integers(1, 25), max_bytes=st.integers(1, 20_000))
@settings(max_examples=60, deadline=None)
def test_whatever_comes_goes_and_is_sorted_it_equals_the_model(
    tmp_path_factory: pytest.TempPathFactory, seed: int, steps: int, max_bytes: int
) -> None:
    source = random.Random(seed)
    path = tmp_path_factory.mktemp("sorting") / "archive"
    archive = Archive(path, sync=False)
    model = Model()
    came: dict[bytes, Envelope] = {}
    """In the order of arrival."""
    for _ in range(steps):
        action = source.choice(["append", "append", "sort", "sort", "sort", "prune", "reopen"])
        if action == "append":
            numbers = source.sample(range(400), source.randrange(1, 80))
            some = [
                envelope(START + n * 653 % (2 * DAY), TOPICS[n % 3], n, 10 + n * 7 % 500)
                for n in numbers
            ]
            archive.append([batch_of(some)])
            model.append(some)
            came |= {item(e): e for e in sorted(some, key=order) if item(e) not in came}
        elif action == "sort":
            day = START + DAY * source.randrange(2)
            for _ in range(source.randrange(12)):
                if not archive.sort(day, max_bytes=max_bytes, max_seconds=60).more:
                    break
        elif action == "prune":
            before = START + source.randrange(2 * DAY)
            limit = source.choice([5, 50, 500])
            for _ in range(source.randrange(1, 9)):
                oldest = sorted(model.envelopes)[:limit]
                gone = archive.prune(before, limit=limit)
                verify_sound(archive)
                for key in oldest[: gone.envelopes]:
                    each = model.envelopes.pop(key)
                    assert each.created < before
                    del came[item(each)]
                if not gone.more:
                    break
        else:
            archive.close()
            archive = Archive(path, sync=False)
            archive._read_ahead_always(source.random() < 0.5)
        verify_sound(archive)
        assert arrivals(archive) == list(came)
        days = archive.days()
        assert sum(day.envelopes for day in days) == len(model.envelopes)
        for terms in (Terms(), Terms(topics=[TOPICS[1]]), Terms(newest_first=False)):
            check_answer(archive, model, terms, limit=source.randrange(1, 60))
    assert came.keys() <= {item(each) for each in followed(archive)}
    archive.close()
    if seed % 8 == 0:
        check_sound(path)
