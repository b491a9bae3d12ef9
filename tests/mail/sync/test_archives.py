"""Two archives on disk, each of 20,000 envelopes: what each lacks is found, fetched, and gone."""

from pathlib import Path
from random import Random

import pytest

from tests.support.archive_model import batch_of, envelope
from tests.support.reconciling import Item, unpack
from wakumail.archive.archive import Archive
from wakumail.mail.sync.initiator import Initiator
from wakumail.mail.sync.items import ALL_TIMES, Window
from wakumail.mail.sync.message_reader import MAX_MESSAGE
from wakumail.mail.sync.reply import MIN_FRAME_LIMIT
from wakumail.mail.sync.responder import answer
from wakumail.waku.envelope import Envelope, parse_stream

COUNT = 20_000
NOW = 1_700_000_000
CROWD = 3000
"""Envelopes of one second, among the others."""


def traffic() -> list[Envelope]:
    """Envelopes of three days in no order, a crowd in one second, and some at the end of time."""
    source = Random(1)
    times = [NOW - source.randrange(3 * 86_400) for _ in range(COUNT - CROWD - 10)]
    times += [NOW - 86_400] * CROWD + [2**32 - 1 - number // 5 for number in range(10)]
    source.shuffle(times)
    return [envelope(created, b"topi", number) for number, created in enumerate(times)]


TRAFFIC = traffic()


def item(each: Envelope) -> Item:
    return each.created, each.hash


def fill(path: Path, lacking: set[Envelope]) -> None:
    """A new archive with all envelopes but some."""
    with Archive(path) as archive:
        stored = [each for each in TRAFFIC if each not in lacking]
        for start in range(0, len(stored), 997):
            archive.append([batch_of(stored[start : start + 997])])


@pytest.fixture(scope="module")
def losses() -> tuple[set[Envelope], set[Envelope]]:
    """The envelopes that either side lacks: some here and there, an hour, and some of the crowd."""
    source = Random(2)
    hour = {each for each in TRAFFIC if NOW - 7200 <= each.created < NOW - 3600}
    crowd = [each for each in TRAFFIC if each.created == NOW - 86_400]
    end = [each for each in TRAFFIC if each.created > NOW]
    one = {*source.sample(TRAFFIC, 100), *crowd[:40], *end[:2]} - hour
    other = {*source.sample(TRAFFIC, 100), *hour, *crowd[90:95], *end[2:3]} - one
    return one, other


def reconcile(
    ours: Archive, theirs: Archive, window: Window = ALL_TIMES, frame_limit: int = MAX_MESSAGE
) -> Initiator:
    """Each message has its own snapshot."""
    initiator = Initiator(window, frame_limit=frame_limit)
    with ours.items() as items:
        message: bytes | None = initiator.begin(items)
    while message is not None:
        with theirs.items() as items:
            told = answer(message, items, window, frame_limit=frame_limit)
        with ours.items() as items:
            message = initiator.take(told, items)
    return initiator


def transfer(packed: bytes, source: Archive, target: Archive) -> None:
    """Copy items from one archive into another."""
    while packed:
        fetched = source.envelopes(packed, max_bytes=1 << 20)
        assert not fetched.absent
        batch, size = parse_stream(fetched.joined, final=True)
        assert size == len(fetched.joined)
        target.append([batch])
        packed = packed[36 * fetched.taken :]


@pytest.mark.parametrize("frame_limit", [MIN_FRAME_LIMIT, MAX_MESSAGE])
def test_two_archives_become_equal(
    tmp_path: Path, losses: tuple[set[Envelope], set[Envelope]], frame_limit: int
) -> None:
    one, other = losses
    fill(tmp_path / "one", one)
    fill(tmp_path / "other", other)
    with Archive(tmp_path / "one") as ours, Archive(tmp_path / "other") as theirs:
        found = reconcile(ours, theirs, frame_limit=frame_limit)
        assert unpack(found.have) == sorted(map(item, other))
        located = b"".join(theirs.find(*wanted)[0] for wanted in found.need)
        assert sorted(unpack(located)) == sorted(map(item, one))
        transfer(found.have, ours, theirs)
        transfer(located, theirs, ours)
        again = reconcile(ours, theirs)
        assert (again.trips, again.have, again.need) == (1, b"", [])
        assert ours.stat().envelopes == theirs.stat().envelopes == COUNT


def test_a_window_of_two_archives(
    tmp_path: Path, losses: tuple[set[Envelope], set[Envelope]]
) -> None:
    one, other = losses
    fill(tmp_path / "one", one)
    fill(tmp_path / "other", other)
    window = Window(NOW - 100_000, NOW - 5000)
    with Archive(tmp_path / "one") as ours, Archive(tmp_path / "other") as theirs:
        found = reconcile(ours, theirs, window)
        located = b"".join(theirs.find(*wanted)[0] for wanted in found.need)
    lacking = [
        sorted(item(each) for each in side if window.first <= each.created < window.end)
        for side in (one, other)
    ]
    assert [sorted(unpack(located)), unpack(found.have)] == lacking


def test_what_was_pruned_is_not_missed_inside_the_window(
    tmp_path: Path, losses: tuple[set[Envelope], set[Envelope]]
) -> None:
    """Pruning in part of a minute leaves sums that fit what is left."""
    one, _ = losses
    fill(tmp_path / "one", one)
    fill(tmp_path / "other", set())
    horizon = NOW - 86_400 - 1234
    with Archive(tmp_path / "one") as ours, Archive(tmp_path / "other") as theirs:
        while ours.prune(horizon, limit=100).more:
            pass
        found = reconcile(ours, theirs, Window(horizon, 2**32))
        located = b"".join(theirs.find(*wanted)[0] for wanted in found.need)
        assert sorted(unpack(located)) == sorted(
            item(each) for each in one if each.created >= horizon
        )
        assert not found.have


def test_an_empty_archive_beside_a_full_one(tmp_path: Path) -> None:
    """In portions; the responder is told all in the second one."""
    fill(tmp_path / "full", set())
    with Archive(tmp_path / "full") as theirs, Archive(tmp_path / "empty") as ours:
        found = reconcile(ours, theirs)
        assert sum(len(wanted.ids) for wanted in found.need) == 32 * COUNT
        transfer(b"".join(theirs.find(*wanted)[0] for wanted in found.need), theirs, ours)
        assert reconcile(theirs, ours).trips == 1
        assert ours.stat().envelopes == COUNT
