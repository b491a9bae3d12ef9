"""Every query, paged in every way, against a plain list and a filter."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.archive_damage import Edit, break_envelope, edit, flip_data
from tests.support.archive_model import (
    DAY,
    SORTED,
    START,
    Model,
    Terms,
    batch_of,
    check_answer,
    check_page,
    check_page_at_once,
    envelope,
    make,
    order,
    position_of,
    read_packet,
    read_tables,
)
from wakumail.archive.archive import Archive, PageState, Query
from wakumail.base import rlp
from wakumail.waku.bloom import FULL_BLOOM, bloom_of, topic_bloom
from wakumail.waku.envelope import Envelope, parse_stream

LAST = 2**32 - 1

# The first three have two bits in one byte of the bloom; the Go form keeps only one of them.
TOPICS = [
    bytes.fromhex("01020000"),
    bytes.fromhex("08090a00"),
    bytes.fromhex("f0f7ff03"),
    b"abcd",
    bytes(4),
    b"\xff\xff\xff\xff",
]
EDGES = [0, 1, DAY - 1, DAY, 3 * DAY, START, START + 7, START + DAY - 1, LAST - 1, LAST]

topics = st.sampled_from(TOPICS)
times = st.sampled_from(EDGES) | st.integers(0, LAST)
envelopes = st.builds(envelope, times, topics, st.integers(0, 30), st.sampled_from([8, 9, 60, 300]))
blooms = st.one_of(
    st.sampled_from([bytes(64), FULL_BLOOM]),
    st.sets(topics, min_size=1).map(bloom_of),
    topics.map(topic_bloom),
)
all_terms = st.builds(
    Terms,
    times | st.just(0),
    times | st.just(LAST),
    st.none() | st.sets(topics) | st.just([TOPICS[0], TOPICS[0]]),
    st.none() | blooms,
    st.booleans(),
)
limits = st.sampled_from([1, 2, 3, 7, 1000])
sizes = st.sampled_from([1, 40, 200, 1000, 1 << 20])
budgets = st.sampled_from([1, 2, 3, 4, 5, 50, 1 << 20])


@st.composite
def positions(draw: st.DrawFn, stored: Sequence[Envelope]) -> bytes:
    """A position: none, that of an envelope, one next to it, or one without an envelope near."""
    if not stored or draw(st.booleans()):
        missing = draw(times).to_bytes(4, "big") + draw(st.sampled_from([b"\0", b"\xff"])) * 32
        return draw(st.sampled_from([b"", missing]))
    position = bytearray(position_of(draw(st.sampled_from(stored))))
    at = draw(st.sampled_from([None, 4, 19, 20, 35]))
    if at is not None:
        position[at] = (position[at] + draw(st.sampled_from([1, 255]))) % 256
    return bytes(position)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.lists(envelopes, max_size=12), max_size=4), st.data())
def test_any_archive_any_query(commits: list[list[Envelope]], data: st.DataObject) -> None:
    model = Model()
    with TemporaryDirectory() as path, Archive(path, sync=False) as archive:
        for commit in commits:
            before = len(model.envelopes)
            model.append(commit)
            appended = archive.append([batch_of(commit)])
            assert appended.stored == len(model.envelopes) - before
            assert appended.duplicates == len(commit) - appended.stored
        stored = list(model.envelopes.values())
        archive._read_ahead_always(data.draw(st.booleans()))
        for _ in range(3):
            check_answer(
                archive,
                model,
                data.draw(all_terms),
                position=data.draw(positions(stored)),
                limit=data.draw(limits),
                max_bytes=data.draw(sizes),
                budget=data.draw(budgets),
            )


MANY = [each.to_bytes(4, "big") for each in random.Random(7).sample(range(2**32), 150)]


def make_crowd() -> list[Envelope]:
    """Three days: few hot topics, many rare ones, and seconds that many envelopes share."""
    source = random.Random(8)
    crowd = []
    for each in range(4000):
        topic = source.choice(MANY[:5]) if each % 2 else source.choice(MANY)
        created = START + source.choice([0, DAY, 5 * DAY]) + source.randrange(0, DAY, 600)
        crowd.append(envelope(created, topic, each))
    return crowd


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Archive, Model]]:
    model = Model()
    with Archive(tmp_path_factory.mktemp("crowd"), sync=False) as archive:
        stored = make_crowd()
        for at in range(0, len(stored), 700):
            archive.append([batch_of(stored[at : at + 700])])
        model.append(stored)
        yield archive, model


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_crowded_days(crowd: tuple[Archive, Model], data: st.DataObject) -> None:
    archive, model = crowd
    some = st.sets(st.sampled_from(MANY), min_size=1, max_size=data.draw(st.sampled_from([5, 150])))
    within = st.integers(START - 1, START + 6 * DAY + 1)
    lower = data.draw(within)
    terms = Terms(
        lower,
        data.draw(st.sampled_from([LAST, lower + 3600, lower + DAY])),
        data.draw(st.none() | some),
        data.draw(st.none() | some.map(bloom_of)),
        data.draw(st.booleans()),
    )
    query = terms.compile()
    position = data.draw(positions(list(model.envelopes.values())[:50]))
    limit = data.draw(st.sampled_from([1, 30, 500, 5000]))
    budget = data.draw(st.sampled_from([1, 40, 300, 1 << 20]))
    archive._read_ahead_always(data.draw(st.booleans()))
    for _ in range(8):
        page = archive.page_job(query, position, limit=limit, max_bytes=20_000, budget=budget).do()
        check_page(model, terms, position, page, limit, 20_000)
        check_page_at_once(archive, query, position, page, limit, 20_000)
        if page.state is PageState.EXHAUSTED:
            break
        assert page.position != position
        position = page.position


def stops_at_hits(archive: Archive, terms: Terms) -> bool:
    """True if slices within a day stop only at hits, as merged postings do."""
    query, position = terms.compile(), b""
    for _ in range(60):
        page = archive.page_job(query, position, limit=100, max_bytes=1 << 20, budget=1).do()
        position = page.position
        if position[20:] == bytes(16) != position[4:20]:
            return False
    return True


def test_few_topics_are_merged_and_many_walked(crowd: tuple[Archive, Model]) -> None:
    archive, _ = crowd
    assert stops_at_hits(archive, Terms(START, START + DAY - 1, topics=MANY[:1]))
    assert not stops_at_hits(archive, Terms(START, START + DAY - 1, topics=MANY[4:]))


def test_a_slice_reads_as_much_as_it_plans(crowd: tuple[Archive, Model]) -> None:
    """To test a day's topics costs more than this budget, but the slice still makes progress."""
    archive, _ = crowd
    page = archive.page_job(
        Query(0, LAST, bloom=bloom_of(MANY[:30])), limit=500, max_bytes=1 << 20, budget=1
    ).do()
    assert page.state is PageState.PAUSED
    assert 50 < page.count < 400


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_day_of_very_many_topics(tmp_path: Path, newest_first: bool) -> None:
    """More topics than are tested (65536), and more wanted ones than are merged (4096)."""
    model = Model()
    names = [each.to_bytes(4, "big") for each in range(70_000)]
    with Archive(tmp_path, sync=False) as archive:
        for first, day in ((0, START), (60_000, START + DAY)):
            stored = [
                envelope(day + each % 997, names[each], each, 8) for each in range(first, 70_000)
            ]
            archive.append([batch_of(stored)])
            model.append(stored)
        wanted = set(names[60_000:65_000])
        for terms in (
            Terms(topics=wanted, newest_first=newest_first),
            Terms(bloom=bloom_of(names[65_000:65_009]), newest_first=newest_first),
        ):
            pages = check_answer(archive, model, terms, limit=20_000)
            assert sum(page.count for page in pages) > 5


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_insertion_between_pages(data: st.DataObject) -> None:
    model = Model()
    near = st.builds(
        envelope, st.integers(START, START + 2 * DAY), topics, st.integers(0, 50), st.just(8)
    )
    terms = Terms(
        topics=data.draw(st.none() | st.just(TOPICS[:3])), newest_first=data.draw(st.booleans())
    )
    query, position = terms.compile(), b""
    with TemporaryDirectory() as path, Archive(path, sync=False) as archive:
        for _ in range(data.draw(st.integers(2, 8))):
            added = data.draw(st.lists(near, max_size=8))
            model.append(added)
            archive.append([batch_of(added)])
            page = archive.page_job(query, position, limit=2, max_bytes=1 << 20).do()
            check_page(model, terms, position, page, 2, 1 << 20)
            position = page.position


@pytest.fixture
def small(tmp_path: Path) -> Iterator[tuple[Archive, list[Envelope]]]:
    """Nine envelopes of three days, newest first."""
    stored = [envelope(START + each * DAY // 3, TOPICS[each % 3], each) for each in range(9)]
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(stored)])
        yield archive, sorted(stored, key=order, reverse=True)


EVERYTHING = Query(0, LAST)


def test_a_page_and_where_it_goes_on(small: tuple[Archive, list[Envelope]]) -> None:
    archive, stored = small
    page = archive.page_job(EVERYTHING, limit=4, max_bytes=1 << 20).do()
    assert read_packet(page.packet) == stored[:4]
    assert page.count == 4
    assert page.last_hash == stored[3].hash
    assert page.position == position_of(stored[3])
    assert page.state is PageState.MORE
    page = archive.page_job(EVERYTHING, page.position, limit=5, max_bytes=1 << 20).do()
    assert read_packet(page.packet) == stored[4:]
    assert page.state is PageState.EXHAUSTED


def test_limit_zero_asks_whether_there_is_more(small: tuple[Archive, list[Envelope]]) -> None:
    archive, stored = small
    last = position_of(stored[-1])
    nearly = position_of(stored[-2])
    assert archive.page_job(EVERYTHING, nearly, limit=0, max_bytes=1).do() == (
        (b"\xc0", 0, b"", nearly, PageState.MORE)
    )
    assert archive.page_job(EVERYTHING, last, limit=0, max_bytes=1).do() == (
        (b"\xc0", 0, b"", last, PageState.EXHAUSTED)
    )
    assert archive.page_job(EVERYTHING, limit=0, max_bytes=1).do().position == b""
    none = Query(0, LAST, topics=[b"none"])
    assert archive.page_job(none, limit=0, max_bytes=1).do().state is PageState.EXHAUSTED


def test_max_bytes_counts_the_list_header(small: tuple[Archive, list[Envelope]]) -> None:
    archive, stored = small
    packet = rlp.join_list([each.rlp for each in stored[:3]])
    assert archive.page_job(EVERYTHING, limit=9, max_bytes=len(packet)).do().packet == packet
    assert archive.page_job(EVERYTHING, limit=9, max_bytes=len(packet) - 1).do().count == 2
    alone = archive.page_job(EVERYTHING, limit=9, max_bytes=1).do()
    assert (alone.count, alone.state) == (1, PageState.MORE)


def test_a_budget_pauses_and_nothing_is_lost(small: tuple[Archive, list[Envelope]]) -> None:
    archive, stored = small
    page = archive.page_job(EVERYTHING, limit=9, max_bytes=1 << 20, budget=2).do()
    assert (page.count, page.state) == (2, PageState.PAUSED)
    assert page.position == position_of(stored[1])


def test_a_pause_between_days_is_behind_the_day(small: tuple[Archive, list[Envelope]]) -> None:
    archive, stored = small
    query = Query(0, LAST, topics=[stored[0].topic])
    page = archive.page_job(query, limit=9, max_bytes=1 << 20, budget=3).do()
    assert (page.count, page.state) == (1, PageState.PAUSED)
    assert page.position == (START + 2 * DAY).to_bytes(4, "big") + bytes(32)


def test_days_without_hits_are_paid_for(small: tuple[Archive, list[Envelope]]) -> None:
    archive, _ = small
    page = archive.page_job(
        Query(0, LAST, topics=[b"none"]), limit=9, max_bytes=1 << 20, budget=1
    ).do()
    assert (page.count, page.state) == (0, PageState.PAUSED)
    assert page.position == (START + 2 * DAY).to_bytes(4, "big") + bytes(32)


def test_empty_days_cost_nothing(tmp_path: Path) -> None:
    """A query for all times costs only a few entries if the archive has few."""
    stored = [envelope(created, b"abcd", 0) for created in (0, START, LAST)]
    for newest_first in (True, False):
        terms = Terms(topics=[b"abcd"], newest_first=newest_first)
        with Archive(tmp_path, sync=False) as archive:
            archive.append([batch_of(stored)])
            page = archive.page_job(terms.compile(), limit=3, max_bytes=1000, budget=10).do()
            assert (page.count, page.state) == (3, PageState.EXHAUSTED)


@pytest.mark.parametrize(
    "terms",
    [
        Terms(topics=[]),
        Terms(bloom=bytes(64)),
        Terms(START + 1, START),
        Terms(topics=[], bloom=FULL_BLOOM),
        Terms(LAST, LAST),
    ],
)
def test_queries_that_match_nothing(small: tuple[Archive, list[Envelope]], terms: Terms) -> None:
    page = small[0].page_job(terms.compile(), limit=9, max_bytes=1 << 20).do()
    assert (page.packet, page.count, page.state) == (b"\xc0", 0, PageState.EXHAUSTED)


@given(
    flipped=st.sets(st.integers(0, 59)),
    broken=st.sets(st.integers(0, 59), max_size=8),
    limit=st.integers(1, 70),
    max_bytes=st.integers(200, 9000),
    ahead=st.booleans(),
    newest_first=st.booleans(),
)
def test_a_lenient_page_leaves_out_what_is_damaged(
    flipped: set[int],
    broken: set[int],
    limit: int,
    max_bytes: int,
    ahead: bool,
    newest_first: bool,
) -> None:
    stored = sorted(make(60, spread=20), key=order, reverse=newest_first)
    with TemporaryDirectory() as directory:
        with Archive(directory, sync=False) as archive:
            archive.append([batch_of(stored)])
        for place in flipped:
            flip_data(Path(directory), stored[place])
        for place in broken - flipped:
            break_envelope(Path(directory), stored[place])
        found: list[Envelope] = []
        damaged, position = 0, b""
        with Archive(directory, readonly=True) as archive:
            archive._read_ahead_always(ahead)
            state = PageState.MORE
            while state is not PageState.EXHAUSTED:
                job = archive.page_job(
                    Query(0, LAST, newest_first=newest_first),
                    position,
                    limit=limit,
                    max_bytes=max_bytes,
                    budget=50,
                    lenient=True,
                )
                page = job.do()
                found += read_packet(page.packet)
                assert page.position != position or page.state is PageState.EXHAUSTED
                damaged, position, state = damaged + job.damaged, page.position, page.state
        lost = flipped | broken
        assert found == [each for place, each in enumerate(stored) if place not in lost]
        assert damaged == len(lost)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("is_sorted", [False, True])
@pytest.mark.parametrize(
    "damage",
    [
        lambda value: bytes(len(value)),
        lambda value: value[:-1],
        lambda value: b"\xff" * len(value),
        lambda value: b"",
        lambda value: None,
    ],
    ids=["zeros", "cut", "ones", "empty", "gone"],
)
def test_a_lenient_page_leaves_out_the_envelopes_of_damaged_chunks(
    tmp_path: Path, damage: Callable[[bytes], bytes | None], is_sorted: bool, ahead: bool
) -> None:
    stored = sorted(make(400, spread=DAY), key=order)
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(stored)])
        while is_sorted and archive.sort(START, max_bytes=1 << 20, max_seconds=60).more:
            pass
    chunks = read_tables(tmp_path)["chunks"].items()
    lying = [row for row in chunks if (int.from_bytes(row[0][2:], "big") >= SORTED) is is_sorted]
    lost: set[Envelope] = set()
    edits: list[tuple[Path, Edit]] = []
    for key, value in lying[::-2]:
        content = value[4 + 4 * int.from_bytes(value[:4], "big") :]
        lost |= set(parse_stream(content, final=True)[0])
        edits.append((tmp_path, ("chunks", key, damage(value))))
    edit(edits)
    with Archive(tmp_path, readonly=True) as archive:
        archive._read_ahead_always(ahead)
        for wanted in (None, sorted({each.topic for each in stored})):
            job = archive.page_job(
                Query(0, LAST, topics=wanted, newest_first=False),
                limit=1000,
                max_bytes=1 << 20,
                lenient=True,
            )
            assert read_packet(job.do().packet) == [each for each in stored if each not in lost]
            assert job.damaged == len(lost) > 100


def test_pages_go_on_behind_an_envelope_of_another_hash(tmp_path: Path) -> None:
    stored = sorted(make(9, spread=1), key=order)
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(stored)])
    for each in stored:
        flip_data(tmp_path, each)
    position = b""
    with Archive(tmp_path, readonly=True) as archive:
        for each in stored:
            page = archive.page_job(
                Query(0, LAST, newest_first=False), position, limit=1, max_bytes=1000
            ).do()
            assert read_packet(page.packet)[0].data[:-1] == each.data[:-1]
            position = page.position
    assert page.state is PageState.EXHAUSTED


def test_topics_win_over_the_bloom(small: tuple[Archive, list[Envelope]]) -> None:
    archive, _ = small
    query = Query(0, LAST, topics=TOPICS[:1], bloom=bloom_of(TOPICS[1:2]))
    page = archive.page_job(query, limit=9, max_bytes=1 << 20).do()
    assert {each.topic for each in read_packet(page.packet)} == {TOPICS[0]}
    assert page.count == 3


def test_a_full_bloom_is_everything(small: tuple[Archive, list[Envelope]]) -> None:
    page = small[0].page_job(Query(0, LAST, bloom=FULL_BLOOM), limit=99, max_bytes=1 << 20).do()
    assert page.count == 9


def test_the_bloom_of_either_kind_of_client_covers_its_topic(tmp_path: Path) -> None:
    stored = [envelope(START, topic, 1) for topic in TOPICS]
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(stored)])
        for each in stored:
            for bloom in (topic_bloom(each.topic), bloom_of([each.topic])):
                page = archive.page_job(
                    Query(0, LAST, bloom=bloom), limit=9, max_bytes=1 << 20
                ).do()
                assert each in read_packet(page.packet)


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (ValueError, {"lower": -1}),
        (ValueError, {"upper": 2**32}),
        (ValueError, {"topics": [b"abc"]}),
        (ValueError, {"topics": [b"abcd", b"abcde"]}),
        (ValueError, {"bloom": bytes(63)}),
        (ValueError, {"bloom": b""}),
        (TypeError, {"bloom": bytearray(64)}),
        (TypeError, {"topics": ["abcd"]}),
        (TypeError, {"topics": 5}),
    ],
)
def test_queries_that_are_refused(error: type[Exception], arguments: dict[str, object]) -> None:
    with pytest.raises(error):
        Query(**{"lower": 0, "upper": 1} | arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments",
    [
        {"position": bytes(35)},
        {"position": bytes(37)},
        {"position": b"\0"},
        {"limit": -1},
        {"max_bytes": 0},
        {"budget": 0},
    ],
)
def test_pages_that_are_refused(
    small: tuple[Archive, list[Envelope]], arguments: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match=r"position|positive"):
        small[0].page_job(EVERYTHING, **{"limit": 1, "max_bytes": 9} | arguments).do()  # type: ignore[arg-type]


def test_limits_beyond_32_bits_are_no_limit(small: tuple[Archive, list[Envelope]]) -> None:
    assert small[0].page_job(EVERYTHING, limit=10**30, max_bytes=10**30).do().count == 9


def test_blooms_over_topics_of_every_first_byte(tmp_path: Path) -> None:
    """Topics are skipped by their first byte, also the last of a day: on even and odd days."""
    topics = [bytes([first, 7 * first % 256, 3, first % 8]) for first in range(256)]
    stored = [
        envelope(START + day * DAY + first, topic, 1000 * day + first)
        for day in range(3)
        for first, topic in enumerate(topics)
    ]
    model = Model()
    model.append(stored)
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(stored)])
        for first in range(0, 256, 5):
            for wanted in (topics[first : first + 1], topics[first : first + 3]):
                check_answer(archive, model, Terms(bloom=bloom_of(wanted)))


def test_the_topics_of_a_day(tmp_path: Path) -> None:
    """Those with the most envelopes first; others of the day before and after are not counted."""
    stored = make(900)
    with Archive(tmp_path) as archive:
        archive.append([batch_of(stored)])
        for day in archive.days():
            of_day = Counter(e.topic for e in stored if e.created // DAY == day.start // DAY)
            expected = sorted(of_day.items(), key=lambda item: (-item[1], item[0]))
            assert archive.topics(day.start, 10**6) == expected
            assert len(expected) == day.topics
            assert archive.topics(day.start + 100, 3) == expected[:3]
        for other in (0, START - DAY, 2**32 - 1):
            assert archive.topics(other, 10) == []
        with pytest.raises(ValueError, match="32 bits"):
            archive.topics(2**32, 10)
