"""The commit that deletes the rows of a large day frees most of their pages unread."""

import random
import struct
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.archive.test_verify import verify_sound
from tests.support.archive_model import (
    DAY,
    START,
    batch_of,
    everything,
    make,
    order,
    read_packet,
    sorted_down,
)
from tests.support.damaged_files import FLAGS_AT, P_BRANCH, P_LEAF, PAGE
from tests.support.independent import check_sound
from wakumail.archive.archive import Archive, Query
from wakumail.archive.page_check import check_pages
from wakumail.errors import ArchiveDamaged
from wakumail.waku.envelope import Envelope

TIME_KEY, POSTING_KEY = 20, 25
"""Bytes of the keys of the largest tables: see layout.pxd. No other table has such keys."""

COUNT = 20_000
"""Envelopes of a day whose rows have branch pages of their own."""


class Leaf(NamedTuple):
    """A leaf page that a branch page of LMDB names."""

    number: int
    named_at: int
    """The place of the number, in bytes from the start of the file."""
    keys: list[bytes]

    @property
    def days(self) -> set[int]:
        """The starts of the days of its rows, in Unix seconds."""
        return {day_of(key) for key in self.keys}


def nodes(page: bytes) -> list[tuple[int, int, bytes]]:
    """The nodes of a page: their places in it, numbers of child pages, and keys."""
    count = (struct.unpack_from("<H", page, 12)[0] - 16) // 2
    found = []
    for at in struct.unpack_from(f"<{count}H", page, 16):
        low, high, size = struct.unpack_from("<HHxxH", page, at)
        found.append((at, low | high << 16, page[at + 8 : at + 8 + size]))
    return found


def day_of(key: bytes) -> int:
    """The start of the day of a row of `times` or `postings`."""
    if len(key) == TIME_KEY:
        return int.from_bytes(key[:4], "big") // DAY * DAY
    return int.from_bytes(key[:2], "big") * DAY


def branches_of(data: bytes, key_size: int) -> list[list[Leaf]]:
    """The leaves of each branch page of a table whose keys have this size.

    The file must be of one commit, or it has pages that are out of date.
    """
    pages = [data[at : at + PAGE] for at in range(0, len(data), PAGE)]
    found = []
    for number, page in enumerate(pages):
        if page[FLAGS_AT] == P_BRANCH and struct.unpack_from("<Q", page)[0] == number:
            branch = [
                Leaf(child, number * PAGE + at, [key for _, _, key in nodes(pages[child])])
                for at, child, _ in nodes(page)
                if pages[child][FLAGS_AT] == P_LEAF
            ]
            if branch and all(len(key) == key_size for leaf in branch for key in leaf.keys):
                found.append(branch)
    return found


class Days(NamedTuple):
    """An archive of a large day and a smaller one, made in one commit."""

    data: bytes
    later: list[Envelope]
    """The envelopes of the smaller day, the newest first."""
    slices: int
    """Slices of pruning before the one that deletes the rows of the large day."""

    def read_in(self, path: Path) -> Archive:
        """Open a copy, and prune until all rows of the first day were read but those of a page."""
        (path / "data.mdb").write_bytes(self.data)
        archive = Archive(path, sync=False)
        archive._read_ahead_always(True)
        for _ in range(self.slices):
            assert not prune(archive)
        return archive


def prune(archive: Archive) -> int:
    """Prune a slice of the first day. Returns the envelopes that it deleted."""
    return archive.prune(START + DAY, limit=2 * COUNT).envelopes


def prune_all(archive: Archive) -> None:
    while archive.prune(START + DAY, limit=2 * COUNT).more:
        pass


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Days:
    path = tmp_path_factory.mktemp("days")
    later = make(3000, first=COUNT, start=START + DAY, spread=DAY, size=10)
    slices = 0
    with Archive(path, sync=False) as archive:
        archive.append([batch_of(make(COUNT, spread=DAY, size=10) + later)])
        data = (path / "data.mdb").read_bytes()
        archive._read_ahead_always(True)
        while not prune(archive):
            slices += 1
    return Days(data, sorted_down(later), slices)


def check(path: Path, left: list[Envelope]) -> None:
    """The archive is sound in all its parts, and holds these envelopes."""
    with Archive(path, sync=False) as archive:
        verify_sound(archive)
        assert everything(archive) == left
    assert check_pages(path) == (0, [])
    check_sound(path)


def test_leaf_pages_that_were_read_are_freed_unread(tmp_path: Path, days: Days) -> None:
    """They are overwritten after they were read: who reads them again meets damage."""
    branches = [
        branch
        for size in (TIME_KEY, POSTING_KEY)
        for branch in branches_of(days.data, size)
        if all(leaf.days == {START} for leaf in branch)
    ]
    assert {len(branch[0].keys[0]) for branch in branches} == {TIME_KEY, POSTING_KEY}
    with days.read_in(tmp_path) as archive:
        with (tmp_path / "data.mdb").open("r+b") as file:
            for leaf in [leaf for branch in branches for leaf in branch[1:-1]]:
                file.seek(PAGE * leaf.number)
                file.write(bytes(PAGE))
        prune_all(archive)
    check(tmp_path, days.later)


def test_a_day_that_gets_envelopes_after_its_pages_were_read(tmp_path: Path, days: Days) -> None:
    """They are on pages that no slice has read."""
    with days.read_in(tmp_path) as archive:
        archive.append([batch_of(make(500, first=2 * COUNT, spread=DAY, size=10))])
        prune_all(archive)
    check(tmp_path, days.later)


@pytest.mark.parametrize("key_size", [TIME_KEY, POSTING_KEY], ids=["times", "postings"])
def test_a_page_of_another_day_that_damage_names_is_not_freed(
    tmp_path: Path, days: Days, key_size: int
) -> None:
    """All that is written after the deletion leaves that day as it is."""
    data = bytearray(days.data)
    branches = branches_of(days.data, key_size)
    within = next(branch for branch in branches if all(leaf.days == {START} for leaf in branch))
    other = next(leaf for branch in branches for leaf in branch if leaf.days == {START + DAY})
    struct.pack_into("<H", data, within[len(within) // 2].named_at, other.number)
    (tmp_path / "data.mdb").write_bytes(data)
    with Archive(tmp_path, sync=False) as archive:
        archive._read_ahead_always(True)
        with suppress(ArchiveDamaged):
            prune_all(archive)
        archive.append(
            [batch_of(make(2 * COUNT, first=2 * COUNT, start=START + 2 * DAY, spread=DAY, size=10))]
        )
        for topic in (None, *{each.topic for each in days.later}):
            query = Query(
                START + DAY, START + 2 * DAY - 1, topics=None if topic is None else [topic]
            )
            page = archive.page_job(query, limit=COUNT, max_bytes=1 << 30, budget=1 << 30).do()
            left = [each for each in days.later if topic in (None, each.topic)]
            assert read_packet(page.packet) == left


@pytest.mark.parametrize("seed", range(2))
def test_all_that_is_done_between_the_slices_equals_the_model(tmp_path: Path, seed: int) -> None:
    """Days with branch pages of their own: written to, sorted, and deleted the oldest first."""
    source = random.Random(seed)
    model: list[Envelope] = []
    """The oldest first."""
    with Archive(tmp_path, sync=False) as archive:
        archive._read_ahead_always(source.random() < 0.5)
        for step in range(40):
            first = START + DAY * (step // 10)
            if step % 10 == 0:
                fresh = make(12_000, first=step * COUNT, start=first, spread=2 * DAY, size=10)
            else:
                fresh = make(source.randrange(200), first=step * COUNT, start=first, size=10)
            for at in range(0, len(fresh), 2000):
                archive.append([batch_of(fresh[at : at + 2000])])
            model = sorted([*model, *fresh], key=order)
            if source.random() < 0.3:
                archive.sort(first, max_bytes=source.randrange(1 << 18), max_seconds=60)
            before = first + source.choice([DAY // 2, DAY, DAY, DAY])
            for _ in range(source.choice([1, 10, 1000])):
                pruned = archive.prune(before, limit=source.choice([500, COUNT]))
                gone, model = model[: pruned.envelopes], model[pruned.envelopes :]
                assert all(each.created < before for each in gone)
                if not pruned.more:
                    break
            assert archive.stat().envelopes == len(model)
    check(tmp_path, sorted_down(model))
