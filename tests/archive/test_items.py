"""Ranges of items, against a sorted list and sums in plain Python; items by arrival and by name."""

import random
import shutil
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.archive_damage import edit, plus
from tests.support.archive_model import (
    DAY,
    START,
    batch_of,
    envelope,
    everything,
    fold_of,
    make,
    order,
    position_of,
    read_tables,
)
from wakumail.archive.archive import MAX_PARTS, Archive, Items
from wakumail.archive.results import Bound, Fold
from wakumail.errors import ArchiveDamaged, ArchiveError
from wakumail.waku.envelope import Envelope

INFINITY = Bound(2**64 - 1, b"")
EVERYTHING = (Bound(0, b""), INFINITY)
LAST = 2**32 - 1
NOTHING = Fold(0, bytes(32))


def place(bound: tuple[int, bytes]) -> tuple[int, bytes]:
    """The place of a bound in the order of items."""
    return bound[0], bound[1].ljust(32, b"\0")


def between(
    stored: list[Envelope], lower: tuple[int, bytes], upper: tuple[int, bytes]
) -> list[Envelope]:
    """Those of sorted envelopes that lie in a range."""
    first, end = (bisect_left(stored, place(bound), key=order) for bound in (lower, upper))
    return stored[first:end]


def joined(envelopes: list[Envelope]) -> bytes:
    return b"".join(map(position_of, envelopes))


def check_split(items: Items, stored: list[Envelope], lower: Bound, upper: Bound, of: int) -> None:
    """Check the parts of a range: what they hold, how many there are, and how even they are."""
    within = between(stored, lower, upper)
    parts = items.split(lower, upper, of)
    assert parts[-1][0] == upper
    assert 1 <= len(parts) <= of
    at = lower
    for behind, fold in parts:
        members = between(stored, at, behind)
        assert fold == fold_of(members)
        assert members or not within
        minutes = Counter(each.created // 60 for each in members)
        largest = max(minutes.values(), default=0)
        share = -(-len(within) // of)
        assert len(members) < share + max(share, largest) or of == 1 or not within
        if behind != upper and behind.prefix:  # the shortest that tells the neighbours apart
            assert place((behind.time, behind.prefix[:-1])) <= order(members[-1])
        at = behind
    if of > 1 and len(within) >= 2 * of:
        assert len(parts) > 1
    if len(within) <= of and len({each.created // 60 for each in within}) == 1:
        assert len(parts) == len(within)


@pytest.fixture(scope="module")
def shapes(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[list[tuple[Archive, list[Envelope]]]]:
    """Archives: of a month, of one second with 5,000, of the first and the last seconds, none."""
    month = make(3000, spread=30 * DAY)
    crowd = [envelope(START + 7, b"crow", each) for each in range(5000)]
    crowd += make(300, first=9000, spread=200)
    ends = [envelope(each % 200 // 2, b"ends", each) for each in range(200)]
    ends += [envelope(LAST - each % 200 // 2, b"ends", each) for each in range(400, 600)]
    made = []
    for number, stored in enumerate((month, crowd, ends, [])):
        archive = Archive(tmp_path_factory.mktemp("items") / str(number), sync=False)
        for first in range(0, len(stored), 1700):
            archive.append([batch_of(stored[first : first + 1700])])
        made.append((archive, sorted(stored, key=order)))
    month_archive, _ = made[0]
    while month_archive.prune(START + 3 * DAY + 4321, limit=77).more:
        pass
    made[0] = month_archive, everything(month_archive)[::-1]
    yield made
    for archive, _ in made:
        archive.close()


def bounds(source: random.Random, stored: list[Envelope]) -> Bound:
    """A bound: anywhere, at an item, just behind one, on a minute or a day, or behind all."""
    one = source.choice(stored) if stored else envelope(START, b"none", 1)
    time = one.created
    size = source.randrange(33)
    return source.choice(
        [
            Bound(time, one.hash[:size]),
            Bound(time, one.hash),
            Bound(time, one.hash[:16] + source.randbytes(source.randrange(17))),
            Bound(time, source.randbytes(size)),
            Bound(time, b""),
            Bound(time // 60 * 60, b""),
            Bound(time // 60 * 60 + 60, b""),
            Bound(time // DAY * DAY + DAY * source.randrange(2), b""),
            Bound(source.randrange(2**33), source.randbytes(size)),
            Bound(LAST, b"\xff" * 32),
            *EVERYTHING,
        ]
    )


@given(st.integers(0, 3), st.randoms(use_true_random=False), st.sampled_from([1, 2, 3, 16, 1000]))
@settings(max_examples=150, deadline=None)
def test_any_range(
    shapes: list[tuple[Archive, list[Envelope]]], shape: int, source: random.Random, of: int
) -> None:
    archive, stored = shapes[shape]
    lower, upper = bounds(source, stored), bounds(source, stored)
    within = between(stored, lower, upper)
    limit = source.choice([1, len(within) or 1, len(within) + 1, 300])
    with archive.items() as items:
        assert items.fold(lower, upper) == fold_of(within)
        check_split(items, stored, lower, upper, of)
        assert items.ids(lower, upper, limit) == joined(within[:limit])


def test_all_of_each(shapes: list[tuple[Archive, list[Envelope]]]) -> None:
    for archive, stored in shapes:
        with archive.items() as items:
            assert items.fold(*EVERYTHING) == fold_of(stored)
            assert items.hashed == 0
            assert items.ids(*EVERYTHING, 2**14) == joined(stored)
            for of in (1, 2, 16, MAX_PARTS):
                check_split(items, stored, *EVERYTHING, of)


def test_whole_days_and_minutes_are_not_hashed(tmp_path: Path) -> None:
    stored = sorted(make(20_000, spread=4 * DAY), key=order)
    lower, upper = Bound(START + 3600, b""), Bound(START + 3 * DAY + 120, b"")
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(stored)])
        with archive.items() as items:
            assert items.fold(lower, upper) == fold_of(between(stored, lower, upper))
            for behind, _ in items.split(lower, upper, 16):
                assert behind.time % 60 == 0
                assert behind.prefix == b""
            assert items.hashed == 0
            middle = stored[9000]
            assert items.fold(EVERYTHING[0], Bound(*order(middle))) == fold_of(stored[:9000])
            minute = [each for each in stored if each.created // 60 == middle.created // 60]
            before = minute[: minute.index(middle) + 1]
            assert items.hashed == sum(len(each.rlp) for each in before)


def test_minutes_are_cut_only_where_they_have_nearly_all(tmp_path: Path) -> None:
    """Their envelopes would have to be hashed; a minute that is a part of its own is cut later."""
    crowd = [envelope(START + 60 * 7 + number % 60, b"topi", number) for number in range(300)]
    others = [envelope(START, b"topi", number) for number in range(40)]
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(crowd + others)])
        with archive.items() as items:
            assert [fold.count for _, fold in items.split(*EVERYTHING, 10)] == [40, 300]
            assert items.hashed == 0
            parts = items.split(Bound(START + 60, b""), INFINITY, 10)
            assert len(parts) == 10
            assert items.hashed == sum(len(each.rlp) for each in crowd)


def test_items_are_those_of_one_moment(tmp_path: Path) -> None:
    first, more = make(500), make(500, first=500)
    with Archive(tmp_path, sync=False, map_size=1 << 20) as archive:
        archive.append([batch_of(first)])
        with archive.items() as items:
            archive.append([batch_of(more)])
            archive.append([batch_of(make(8000, first=1000, size=600))])  # the map grows
            archive.prune(START + DAY, limit=10_000)
            assert items.fold(*EVERYTHING) == fold_of(first)
            assert items.ids(*EVERYTHING, 1000) == joined(sorted(first, key=order))


def test_two_threads_share_them(tmp_path: Path) -> None:
    stored = make(3000, spread=600)
    with Archive(tmp_path, sync=False) as archive, ThreadPoolExecutor(2) as threads:
        archive.append([batch_of(stored)])
        with archive.items() as items:
            for fold in threads.map(lambda _: items.fold(*EVERYTHING), range(200)):
                assert fold == fold_of(stored)
            for ids in threads.map(lambda _: items.ids(*EVERYTHING, 5000), range(20)):
                assert ids == joined(sorted(stored, key=order))


def test_closing_ends_them(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.append([batch_of(make(10))])
    ended, left = archive.items(), archive.items()
    ended.close()
    ended.close()
    with pytest.raises(ArchiveError, match="closed"):
        ended.fold(*EVERYTHING)
    assert left.fold(*EVERYTHING).count == 10
    archive.close()
    with pytest.raises(ArchiveError, match="closed"):
        left.ids(*EVERYTHING, 1)
    left.close()
    with pytest.raises(ArchiveError, match="closed"):
        archive.items()
    with pytest.raises(ArchiveError, match="closed"):
        archive.missing(b"")
    with pytest.raises(ArchiveError, match="closed"):
        archive.find(0, 1, b"")
    with pytest.raises(ArchiveError, match="closed"):
        archive.envelopes(b"", max_bytes=1)
    with pytest.raises(ArchiveError, match="closed"):
        archive.arrived(0, limit=1)


def test_what_is_no_range(tmp_path: Path) -> None:
    with Archive(tmp_path) as archive, archive.items() as items:
        for bound in ((-1, b""), (0, bytes(33))):
            with pytest.raises(ValueError, match="bound"):
                items.fold(bound, INFINITY)
        for parts in (0, MAX_PARTS + 1):
            with pytest.raises(ValueError, match="parts"):
                items.split(*EVERYTHING, parts)
        with pytest.raises(ValueError, match="limit"):
            items.ids(*EVERYTHING, 0)
        assert items.fold(INFINITY, EVERYTHING[0]) == NOTHING
        assert items.split(INFINITY, EVERYTHING[0], 5) == [(EVERYTHING[0], NOTHING)]
        assert items.split(*EVERYTHING, 5) == [(INFINITY, NOTHING)]


# -- damage ---------------------------------------------------------------------------------------


def test_sums_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """The sum above the parts of a range is compared, when it is told by its parts."""
    with Archive(tmp_path / "sound", sync=False) as archive:
        archive.append([batch_of(make(2000, spread=600))])
    tables = read_tables(tmp_path / "sound")
    key, value = next(iter(tables["sums"].items()))
    day, totals = next(iter(tables["days"].items()))
    wrong = {
        "sum": ("sums", key, value[:-1] + plus(value[-1:])),
        "count": ("sums", key, plus(value[:4]) + value[4:]),
        "row": ("sums", key, None),
        "size": ("sums", key, value[1:]),
        "day": ("days", day, totals[:-1] + plus(totals[-1:])),
    }
    for name in wrong:
        shutil.copytree(tmp_path / "sound", tmp_path / name)
    edit([(tmp_path / name, row) for name, row in wrong.items()])
    for name in wrong:
        with Archive(tmp_path / name, sync=False) as archive:
            with archive.items() as items, pytest.raises(ArchiveDamaged, match="damaged"):
                items.split(*EVERYTHING, 1000)
            assert archive.append([batch_of(make(2000, first=5000, spread=600))]).stored == 2000
            with archive.items() as items, pytest.raises(ArchiveDamaged, match="damaged"):
                items.split(*EVERYTHING, 1000)
            assert len(everything(archive)) == 4000


def test_an_envelope_that_is_not_its_row_is_refused(tmp_path: Path) -> None:
    stored = sorted(make(100, spread=60), key=order)
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(stored)])
    key, value = next(iter(read_tables(tmp_path)["chunks"].items()))
    edit([(tmp_path, ("chunks", key, value[:-9] + plus(value[-9:], 256)))])
    with Archive(tmp_path, sync=False) as archive:
        with archive.items() as items, pytest.raises(ArchiveDamaged):
            items.ids(*EVERYTHING, 100)
        with pytest.raises(ArchiveDamaged):
            archive.envelopes(joined(stored), max_bytes=1 << 20)


# -- by arrival and by name -----------------------------------------------------------------------


def test_items_come_in_the_order_of_arrival(tmp_path: Path) -> None:
    source = random.Random(3)
    stored = make(1000, size=50)
    with Archive(tmp_path, sync=False) as archive:
        arrived: list[Envelope] = []
        while len(arrived) < 1000:
            some = stored[len(arrived) : len(arrived) + source.randrange(1, 60)]
            some.sort(key=order)  # a commit's own order
            archive.append([batch_of(some)])
            arrived += some
        for limit in (1, 7, 300, 5000):
            archive._read_ahead_always(limit == 300)
            at, got = 0, b""
            while (step := archive.arrived(at, limit=limit))[1] != at:
                assert 0 < step[1] - at <= limit
                got, at = got + step[0], step[1]
            assert got == joined(arrived)
            assert at == archive.stat().next_sequence
        assert archive.arrived(2**40, limit=5) == (b"", 2**40)

        archive.prune(START + DAY + 500, limit=10_000)
        left = set(everything(archive))
        again = sorted((each for each in arrived[:40] if each not in left), key=order)
        archive.append([batch_of(again)])
        kept = [each for each in arrived if each in left] + again
        at, got = 0, b""
        while (step := archive.arrived(at, limit=64))[1] != at:
            got, at = got + step[0], step[1]
        assert got == joined(kept)
        for arguments in ((-1, 1), (2**47, 1), (0, 0)):
            with pytest.raises(ValueError, match="sequence"):
                archive.arrived(arguments[0], limit=arguments[1])


def test_items_that_are_missing(tmp_path: Path) -> None:
    stored, others = make(300), make(300, first=300)
    mixed = stored + others
    random.Random(1).shuffle(mixed)
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(stored)])
        absent = [each for each in mixed if each in set(others)]
        assert archive.missing(joined(mixed)) == joined(absent)
        assert archive.missing(b"") == b""
        with pytest.raises(ValueError, match="36 bytes"):
            archive.missing(bytes(35))


def test_hashes_are_found_within_their_times(tmp_path: Path) -> None:
    source = random.Random(2)
    stored = sorted(make(2000, spread=1000), key=order)
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(stored)])
        for first, last in ((START + 100, START + 300), (START + 5, START + 5), (0, LAST), (9, 3)):
            wanted = source.sample(stored, 200)
            within = [each for each in sorted(wanted, key=order) if first <= each.created <= last]
            unknown = [source.randbytes(32) for _ in range(20)]
            hashes = [each.hash for each in wanted] + unknown
            assert archive.find(first, last, b"".join(hashes))[0] == joined(within)
            ordered = [each.hash for each in sorted(wanted, key=order)]
            for mixed in (ordered, ordered[:150] + ordered[:149:-1], ordered + ordered):
                assert archive.find(first, last, b"".join(mixed))[0] == joined(within)
        assert archive.find(0, LAST, b"") == (b"", 0)
        with pytest.raises(ValueError, match="32 bytes"):
            archive.find(0, 1, bytes(31))
        with pytest.raises(ValueError, match="32 bits"):
            archive.find(0, 2**32, b"")


def test_envelopes_by_name(tmp_path: Path) -> None:
    stored, others = make(700, size=200), make(300, first=700, size=200)
    vast = envelope(START + 1, b"vast", 1, 900_000)
    mixed = [*stored, *others]
    random.Random(1).shuffle(mixed)
    mixed.insert(500, vast)
    twin = position_of(mixed[0])[:-1] + plus(position_of(mixed[0])[-1:])  # 16 bytes agree
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of([*stored, vast])])
        for max_bytes in (1, 5000, 1 << 20):
            rest, got, absent = joined(mixed) + twin, b"", b""
            while rest:
                fetched = archive.envelopes(rest, max_bytes=max_bytes)
                assert fetched.taken > 0
                assert len(fetched.joined) <= max(max_bytes, len(vast.rlp))
                got, absent = got + fetched.joined, absent + fetched.absent
                rest = rest[36 * fetched.taken :]
            kept = {*stored, vast}
            assert got == b"".join(each.rlp for each in mixed if each in kept)
            assert absent == joined([each for each in mixed if each not in kept]) + twin
        assert archive.envelopes(b"", max_bytes=9) == (b"", 0, b"")
        archive.prune(START + DAY, limit=10_000)
        left = set(everything(archive))
        fetched = archive.envelopes(joined(stored), max_bytes=1 << 20)
        assert fetched.taken == 700
        assert fetched.joined == b"".join(each.rlp for each in stored if each in left)
        assert fetched.absent == joined([each for each in stored if each not in left])


def test_items_know_where_the_order_of_arrival_ended(tmp_path: Path) -> None:
    with Archive(tmp_path / "archive") as archive:
        with archive.items() as none:
            assert none.next_sequence == 0
        archive.append([batch_of(make(30))])
        archive.prune(LAST, limit=10)
        with archive.items() as held:
            archive.append([batch_of(make(5, first=100))])
            assert held.next_sequence == 30
            assert archive.stat().next_sequence == 35
            assert len(archive.arrived(held.next_sequence, limit=100)[0]) == 5 * 36
        with pytest.raises(ArchiveError, match="closed"):
            _ = held.next_sequence
