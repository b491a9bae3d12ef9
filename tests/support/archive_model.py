"""A model of an archive: a plain list and a filter. Reads its file with the lmdb package."""

import pickle
import random
import signal
import subprocess
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE
from wakumail.archive.archive import AT_ONCE_HITS, Archive, Page, PageState, Query
from wakumail.archive.results import Fold
from wakumail.base import rlp
from wakumail.waku.bloom import FULL_BLOOM, covers
from wakumail.waku.envelope import Batch, Envelope, make_envelope, parse

DAY = 86400
START = 19_000 * DAY
SORTED, MOVED = 1 << 47, 1 << 31
"""As in layout.pxd."""

Tables = dict[str, dict[bytes, bytes]]

DUMP_TABLES = """
import lmdb, pickle, sys
with lmdb.open(sys.argv[1], max_dbs=16, readonly=True, lock=False) as env, env.begin() as txn:
    names = [bytes(name) for name, _ in txn.cursor()]
    tables = {name.decode(): dict(txn.cursor(env.open_db(name, txn, create=False)))
              for name in names}
sys.stdout.buffer.write(pickle.dumps(tables))
"""

PUT_ROW = """
import lmdb, sys
path, table, key, value = sys.argv[1], *map(bytes.fromhex, sys.argv[2:])
with lmdb.open(path, max_dbs=16) as env, env.begin(write=True) as txn:
    txn.put(key, value, db=env.open_db(table, txn) if table else None)
"""


def envelope(created: int, topic: bytes, number: int, size: int = 20) -> Envelope:
    """An envelope of this creation time; `number` makes it differ from others."""
    ttl = 50
    data = number.to_bytes(8, "big").rjust(size, b"\x7f")
    return make_envelope((created + ttl) % 2**32, ttl, topic, data, number)


def batch_of(envelopes: Iterable[Envelope]) -> Batch:
    return parse(rlp.join_list([each.rlp for each in envelopes]))


def order(each: Envelope) -> tuple[int, bytes]:
    return each.created, each.hash


def position_of(each: Envelope) -> bytes:
    return each.created.to_bytes(4, "big") + each.hash


def read_packet(packet: bytes) -> list[Envelope]:
    """The envelopes of a packet, which must be one canonical RLP list."""
    return [Envelope.decode(item) for item in rlp.split_list(packet)]


def make(
    count: int, *, first: int = 0, start: int = START, spread: int = 3 * DAY, size: int = 100
) -> list[Envelope]:
    """Envelopes of about twenty topics; the same `first` makes the same envelopes."""
    source = random.Random(first)
    return [
        envelope(
            start + source.randrange(spread), bytes([0, 0, 0, source.randrange(20)]), each, size
        )
        for each in range(first, first + count)
    ]


def everything(archive: Archive) -> list[Envelope]:
    return read_packet(
        archive.page_job(Query(0, 2**32 - 1), limit=2**31, max_bytes=2**31).do().packet
    )


def sorted_down(envelopes: Sequence[Envelope]) -> list[Envelope]:
    return sorted(envelopes, key=order, reverse=True)


@dataclass(frozen=True)
class Terms:
    """A query for both the archive and the model."""

    lower: int = 0
    upper: int = 2**32 - 1
    topics: Collection[bytes] | None = None
    bloom: bytes | None = None
    newest_first: bool = True

    def compile(self) -> Query:
        return Query(
            self.lower,
            self.upper,
            topics=self.topics,
            bloom=self.bloom,
            newest_first=self.newest_first,
        )

    def wants(self, each: Envelope) -> bool:
        if not self.lower <= each.created <= self.upper:
            return False
        if self.topics is not None:
            return each.topic in self.topics
        return self.bloom in (None, FULL_BLOOM) or covers(self.bloom or b"", each.topic)


@dataclass
class Model:
    """An archive without a file."""

    envelopes: dict[tuple[int, bytes], Envelope] = field(default_factory=dict)

    def append(self, added: Iterable[Envelope]) -> None:
        self.envelopes |= {order(each): each for each in added}

    def answer(self, terms: Terms, position: bytes = b"") -> list[Envelope]:
        """All envelopes that follow the position; 16 bytes of its hash count."""
        wanted = sorted(filter(terms.wants, self.envelopes.values()), key=order)
        if terms.newest_first:
            wanted.reverse()
        if not position:
            return wanted
        places = [(each, position_of(each)[:20]) for each in wanted]
        if terms.newest_first:
            return [each for each, place in places if place < position[:20]]
        return [each for each, place in places if place > position[:20]]


def check_page(
    model: Model, terms: Terms, position: bytes, page: Page, limit: int, max_bytes: int
) -> None:
    """Check that the model allows this page at the position, and the position after it."""
    expected = model.answer(terms, position)
    got = read_packet(page.packet)
    rest = expected[page.count :]
    assert [each.rlp for each in got] == [each.rlp for each in expected[: page.count]]
    assert page.count == len(got) <= limit
    assert page.last_hash == (got[-1].hash if got else b"")
    assert len(page.packet) <= max_bytes or page.count == 1
    assert len(page.position) == 36 or page.position == position
    if page.state is PageState.EXHAUSTED:
        assert not rest
    elif page.state is PageState.MORE:
        assert rest
        if page.count < limit:
            with_next = rlp.join_list([each.rlp for each in expected[: page.count + 1]])
            assert page.count
            assert len(with_next) > max_bytes
    assert model.answer(terms, page.position) == rest
    if got and page.state is not PageState.PAUSED:
        assert page.position == position_of(got[-1])


def check_page_at_once(
    archive: Archive, query: Query, position: bytes, page: Page, limit: int, max_bytes: int
) -> None:
    """Read a page at once too: it is that of a job with as many entries to look at, or none."""
    at_once = archive.page_at_once(query, position, limit=limit, max_bytes=max_bytes)
    if at_once is not None:
        assert at_once.count <= AT_ONCE_HITS
        if page.state is PageState.PAUSED:
            page = archive.page_job(query, position, limit=limit, max_bytes=max_bytes).do()
        assert at_once == page


def check_answer(
    archive: Archive,
    model: Model,
    terms: Terms,
    *,
    position: bytes = b"",
    limit: int = 2**31,
    max_bytes: int = 2**31,
    budget: int = 2**31,
) -> list[Page]:
    """Page through a whole answer and check each page; returns the pages."""
    query = terms.compile()
    pages = []
    while True:
        page = archive.page_job(
            query, position, limit=limit, max_bytes=max_bytes, budget=budget
        ).do()
        check_page(model, terms, position, page, limit, max_bytes)
        check_page_at_once(archive, query, position, page, limit, max_bytes)
        pages.append(page)
        if page.state is PageState.EXHAUSTED:
            return pages
        assert page.position != position, "a slice that does not get on"
        position = page.position


def python(code: str, *arguments: object, check: int = 0) -> bytes:
    """Run Python code in a process of its own; returns its stdout."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, timeout=PATIENCE
    )
    assert done.returncode == check, done.stderr.decode()
    return done.stdout


ADD_AND_DELETE = """
import lmdb, sys
with lmdb.open(sys.argv[1], max_dbs=16, map_size=1 << 24) as env:
    for _ in range(3):
        with env.begin(write=True) as txn:
            txn.put(b"extra", bytes(100_000))
        with env.begin(write=True) as txn:
            txn.delete(b"extra")
"""


def add_free_pages(path: Path) -> None:
    """Let the file of an archive end with free pages."""
    python(ADD_AND_DELETE, path)


def kill_python(code: str, *arguments: object, after: float) -> None:
    """Run Python code that prints "go", and kill it seconds after that; it may not end before."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"go\n"
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(after)
        running.kill()
        assert running.wait() == -signal.SIGKILL


def read_tables(path: Path) -> Tables:
    """All rows of an archive, read by the lmdb package."""
    tables = pickle.loads(python(DUMP_TABLES, path))
    assert isinstance(tables, dict)
    return tables


def put_row(path: Path, table: str, key: bytes, value: bytes) -> None:
    """Change a row without the archive; table "" is LMDB's own."""
    python(PUT_ROW, path, table.encode().hex(), key.hex(), value.hex())


def number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def check_tables(tables: Tables, stored: Sequence[Envelope]) -> None:
    """Check that indexes, totals and data have exactly these envelopes, and agree."""
    envelopes = {}
    for key, value in tables["chunks"].items():
        day, last, count = number(key[:2]), number(key[2:]), number(value[:4])
        assert tables["arrivals"].pop(key[2:]) == key[:2]
        ends = [number(value[at : at + 4]) for at in range(4, 4 + 4 * count, 4)]
        data = value[4 + 4 * count :]
        assert ends[-1] == len(data)
        for index, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            each = Envelope.decode(data[start:end])
            assert each.created // 86400 == day
            envelopes[last + 1 - count + index] = each
    assert not tables["arrivals"]
    assert sorted(envelopes.values(), key=order) == sorted(stored, key=order)
    assert number(tables["meta"][b"next"]) == (max(envelopes) + 1 if envelopes else 0)
    times, postings = {}, {}
    topics: dict[bytes, int] = {}
    for sequence, each in envelopes.items():
        day, second = divmod(each.created, 86400)
        topic_key = day.to_bytes(2, "big") + each.topic
        place = sequence.to_bytes(6, "big")
        times[each.created.to_bytes(4, "big") + each.hash[:16]] = each.topic + place
        postings[topic_key + second.to_bytes(3, "big") + each.hash[:16]] = place
        topics[topic_key] = topics.get(topic_key, 0) + 1
    assert tables["times"] == times
    assert tables["postings"] == postings
    assert {key: number(value) for key, value in tables["topics"].items()} == topics
    days = {key[:2]: [0, 0, 0] for key in topics}
    for key, count in topics.items():
        days[key[:2]][0] += count
        days[key[:2]][2] += 1
    for each in envelopes.values():
        days[(each.created // 86400).to_bytes(2, "big")][1] += len(each.rlp)
    assert tables["days"] == {
        day: total[0].to_bytes(8, "big")
        + total[1].to_bytes(8, "big")
        + total[2].to_bytes(4, "big")
        + total[0].to_bytes(8, "big")
        + tables["days"][day][28:]
        for day, total in days.items()
    }
    check_sums(tables, stored)


def fold_of(envelopes: Iterable[Envelope]) -> Fold:
    """The number of envelopes and the sum of their hashes, in plain Python."""
    hashes = [int.from_bytes(each.hash, "little") for each in envelopes]
    return Fold(len(hashes), (sum(hashes) % 2**256).to_bytes(32, "little"))


def check_sums(tables: Tables, stored: Iterable[Envelope]) -> None:
    """Check the sums of minutes and days against these envelopes, which have rows."""
    minutes: dict[int, list[Envelope]] = {}
    days: dict[int, list[Envelope]] = {}
    for each in stored:
        minutes.setdefault(each.created // 60, []).append(each)
        days.setdefault(each.created // 86400, []).append(each)
    folds = {minute: fold_of(members) for minute, members in minutes.items()}
    assert tables["sums"] == {
        minute.to_bytes(4, "big"): fold.count.to_bytes(4, "big") + fold.sum
        for minute, fold in folds.items()
    }
    for key, value in tables["days"].items():  # also days whose envelopes are all pruned
        fold = fold_of(days.pop(number(key), []))
        assert (number(value[:8]), value[28:]) == fold
    assert not days
