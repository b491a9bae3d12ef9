"""Pruning against the model: the envelopes that go and stay, and the space that is reused."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.archive_model import DAY, START, batch_of, envelope, order, read_tables
from wakumail.archive.archive import Archive, PageState, Query
from wakumail.waku.envelope import Envelope, parse

EVERYTHING = Query(0, 2**32 - 1)
TOPICS = [b"one.", b"two.", b"tri."]


def envelopes_of(archive: Archive) -> list[Envelope]:
    page = archive.page_job(EVERYTHING, limit=10_000, max_bytes=1 << 30, budget=1 << 30).do()
    assert page.state is PageState.EXHAUSTED
    return list(parse(page.packet))[::-1]


def some(count: int, first: int = 0, seconds: int = 3 * DAY) -> list[Envelope]:
    return [
        envelope(START + number * 7919 % seconds, TOPICS[number % 3], first + number, size=200)
        for number in range(count)
    ]


@given(
    numbers=st.lists(st.integers(0, 400), min_size=1, max_size=120, unique=True),
    commits=st.integers(1, 5),
    cut=st.integers(-1, 3 * DAY + 1),
    limit=st.integers(1, 50),
)
@settings(max_examples=60, deadline=None)
def test_prune_leaves_what_the_model_leaves(
    tmp_path_factory: pytest.TempPathFactory,
    numbers: list[int],
    commits: int,
    cut: int,
    limit: int,
) -> None:
    every = [envelope(START + n * 653 % (3 * DAY), TOPICS[n % 3], n) for n in numbers]
    with Archive(tmp_path_factory.mktemp("prune") / "archive", sync=False) as archive:
        for number in range(commits):
            archive.append([batch_of(every[number::commits])])
        gone = 0
        while True:
            pruned = archive.prune(START + cut, limit=limit)
            gone += pruned.envelopes
            assert pruned.envelopes <= limit
            if not pruned.more:
                break
        left = sorted((e for e in every if e.created >= START + cut), key=order)
        assert envelopes_of(archive) == left
        assert gone == len(every) - len(left)
        stat = archive.stat()
        assert stat.envelopes == len(left)
        assert stat.oldest == (left[0].created if left else None)
        for topic in TOPICS:
            page = archive.page_job(
                Query(0, 2**32 - 1, topics=[topic]), limit=1000, max_bytes=1 << 30
            ).do()
            assert page.count == sum(e.topic == topic for e in left)
        assert archive.prune(START + cut, limit=limit).envelopes == 0
        archive.append([batch_of(every)])
        assert len(envelopes_of(archive)) == len(every)


@given(
    numbers=st.lists(st.integers(0, 400), min_size=5, max_size=100, unique=True),
    cuts=st.lists(st.integers(0, 3 * DAY), min_size=1, max_size=4),
    limit=st.integers(1, 10),
    newest_first=st.booleans(),
    topics=st.sampled_from([None, TOPICS[:1], TOPICS]),
)
@settings(max_examples=60, deadline=None)
def test_pages_go_on_while_envelopes_are_deleted(
    tmp_path_factory: pytest.TempPathFactory,
    numbers: list[int],
    cuts: list[int],
    limit: int,
    newest_first: bool,
    topics: list[bytes] | None,
) -> None:
    """Each page follows the position with what is left, also if the position's envelope is gone."""
    left = [envelope(START + n * 653 % (3 * DAY), TOPICS[n % 3], n) for n in numbers]
    query = Query(0, 2**32 - 1, topics=topics, newest_first=newest_first)
    with Archive(tmp_path_factory.mktemp("pages") / "archive", sync=False) as archive:
        archive.append([batch_of(left)])
        left = [e for e in left if topics is None or e.topic in topics]
        left.sort(key=order, reverse=newest_first)
        position, state = b"", PageState.MORE
        while state is not PageState.EXHAUSTED:
            page = archive.page_job(query, position, limit=limit, max_bytes=1 << 20).do()
            got = list(parse(page.packet))
            assert got == left[: len(got)]
            assert len(got) == min(limit, len(left))
            left = left[len(got) :]
            position, state = page.position, page.state
            if cuts:
                before = START + cuts.pop()
                archive.prune(before, limit=1000)
                left = [e for e in left if e.created >= before]
                state = PageState.MORE
        assert not left


def test_nothing_is_left_of_an_archive_that_is_pruned_whole(tmp_path: Path) -> None:
    with Archive(tmp_path / "archive", sync=False) as archive:
        archive.append([batch_of(some(5000))])
        bytes_gone = 0
        while (pruned := archive.prune(2**32, limit=500)).more:
            bytes_gone += pruned.bytes
        stat = archive.stat()
        assert (stat.envelopes, stat.bytes, stat.oldest, stat.next_sequence) == (0, 0, None, 5000)
        assert bytes_gone + pruned.bytes == sum(len(e.rlp) for e in some(5000))
    tables = read_tables(tmp_path / "archive")
    assert {name for name, rows in tables.items() if rows} == {"meta"}


def test_under_steady_ingest_the_file_stops_growing(tmp_path: Path) -> None:
    """With each new hour the oldest one is pruned, and new rows use its pages."""
    sizes = []
    hours = 48
    with Archive(tmp_path / "archive", sync=False) as archive:
        for hour in range(8 * hours):
            now = START + hour * 3600
            fresh = [envelope(now + 9 * n, TOPICS[n % 3], n, size=512) for n in range(400)]
            for start in range(0, len(fresh), 50):
                archive.append([batch_of(fresh[start : start + 50])])
            archive.prune(now - hours * 3600, limit=1000)
            sizes.append((tmp_path / "archive" / "data.mdb").stat().st_size)
        stat = archive.stat()
    assert sizes[-1] <= 1.1 * sizes[hours]
    assert sizes[-1] <= 1.05 * sizes[4 * hours]
    assert sizes[-1] <= 1.4 * stat.bytes


def test_bad_arguments(tmp_path: Path) -> None:
    with Archive(tmp_path / "archive") as archive:
        with pytest.raises(ValueError, match="positive"):
            archive.prune(-1, limit=1)
        with pytest.raises(ValueError, match="positive"):
            archive.prune(1, limit=0)
