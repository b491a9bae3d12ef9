"""Topics that a day does not have: held back by its sieve, and never one that it has."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Semaphore

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.archive_model import (
    DAY,
    START,
    Model,
    Terms,
    batch_of,
    check_answer,
    check_page,
    envelope,
    order,
    read_packet,
)
from tests.support.patience import PATIENCE
from wakumail.archive.archive import Archive, PageState

DAYS = 3
PRESENT = [each.to_bytes(4, "big") for each in random.Random(5).sample(range(2**32), 2000)]
ABSENT = [each.to_bytes(4, "big") for each in random.Random(6).sample(range(2**32), 1000)]
BUDGET = 1000
"""Less than to look for ABSENT in one day costs, more than sieves cost in all days."""


def slices(archive: Archive, model: Model, terms: Terms) -> int:
    """The slices of an answer, each read once: `check_answer` would read it again, which counts."""
    query, position, count = terms.compile(), b"", 0
    state = PageState.PAUSED
    while state is not PageState.EXHAUSTED:
        page = archive.page_job(query, position, limit=1000, max_bytes=1 << 20, budget=BUDGET).do()
        check_page(model, terms, position, page, 1000, 1 << 20)
        position, state, count = page.position, page.state, count + 1
    return count


def test_the_sieve_of_a_day_holds_until_the_day_changes(tmp_path: Path) -> None:
    model, terms = Model(), Terms(topics=[*ABSENT, PRESENT[7]])
    with Archive(tmp_path, sync=False) as archive:
        for day in range(DAYS):
            stored = [
                envelope(START + day * DAY + place, topic, place, 8)
                for place, topic in enumerate(PRESENT)
            ]
            archive.append([batch_of(stored)])
            model.append(stored)
        assert slices(archive, model, terms) > DAYS, "each day is noted"
        assert slices(archive, model, terms) > 1, "each day gets a sieve"
        assert slices(archive, model, terms) == 1
        late = [envelope(START + DAY + 9, ABSENT[3], 1)]
        archive.append([batch_of(late)])
        model.append(late)
        assert slices(archive, model, terms) > 1, "one day has changed"
        slices(archive, model, terms)
        assert slices(archive, model, terms) == 1
        # What is older is pruned, and with it the only envelope of a topic.
        while archive.prune(START + DAY + 10, limit=1 << 20).more:
            pass
        model.envelopes = {
            key: each for key, each in model.envelopes.items() if each.created >= START + DAY + 10
        }
        for _ in range(3):
            check_answer(archive, model, terms, budget=BUDGET)
        assert slices(archive, model, terms) == 1


SOME = PRESENT[:60] + ABSENT[:60]
added = st.lists(
    st.builds(
        envelope,
        st.integers(START, START + DAYS * DAY - 1),
        st.sampled_from(SOME),
        st.integers(0, 300),
    ),
    max_size=60,
)
wanted = st.sets(st.sampled_from(SOME), min_size=10, max_size=100)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_any_archive_that_changes_between_requests(data: st.DataObject) -> None:
    model = Model()
    with TemporaryDirectory() as path, Archive(path, sync=False) as archive:
        for _ in range(data.draw(st.integers(1, 4))):
            commit = data.draw(added)
            archive.append([batch_of(commit)])
            model.append(commit)
            if data.draw(st.booleans()):
                before = START + data.draw(st.integers(0, DAYS * DAY))
                archive.prune(before, limit=1000)
                model.envelopes = {
                    key: each for key, each in model.envelopes.items() if each.created >= before
                }
            if data.draw(st.booleans()):
                for day in archive.days():
                    archive.sort(day.start, max_bytes=1 << 30, max_seconds=60.0)
            for _ in range(data.draw(st.integers(2, 5))):
                terms = Terms(topics=data.draw(wanted), newest_first=data.draw(st.booleans()))
                check_answer(archive, model, terms, budget=data.draw(st.sampled_from([1, 1000])))


def test_more_days_than_have_sieves(tmp_path: Path) -> None:
    model, terms = Model(), Terms(topics=PRESENT[:40] + ABSENT[:40])
    stored = [
        envelope(START + day * DAY + place, PRESENT[(day + 11 * place) % 80], place)
        for day in range(150)
        for place in range(3)
    ]
    model.append(stored)
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(stored)])
        for _ in range(4):
            check_answer(archive, model, terms)


def test_readers_beside_a_writer_miss_nothing(tmp_path: Path) -> None:
    """Whatever was committed before a request began is in its answer, in every thread."""
    source = random.Random(9)
    stored = [
        envelope(START + source.randrange(2 * DAY), topic, place)
        for place, topic in enumerate(PRESENT)
    ]
    terms = Terms(topics=PRESENT[::50])
    query = terms.compile()
    committed = [0]
    answers = Semaphore(0)
    with Archive(tmp_path, sync=False) as archive, ThreadPoolExecutor(4) as threads:

        def read() -> None:
            while (before := committed[0]) < len(stored):
                packet = archive.page_job(query, limit=1 << 20, max_bytes=1 << 24).do().packet
                got = {order(each) for each in read_packet(packet)}
                assert got >= {order(each) for each in filter(terms.wants, stored[:before])}
                answers.release()

        readers = [threads.submit(read) for _ in range(4)]
        try:
            for at in range(0, len(stored), 100):
                archive.append([batch_of(stored[at : at + 100])])
                committed[0] = at + 100
                assert at + 100 == len(stored) or all(
                    answers.acquire(timeout=PATIENCE) for _ in range(8)
                )
        finally:
            committed[0] = len(stored)
        for reader in readers:
            reader.result()
