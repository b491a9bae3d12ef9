"""Writing to an archive: its rows, growth of its file, threads, processes and crashes."""

import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.archive_model import (
    DAY,
    START,
    batch_of,
    check_tables,
    envelope,
    everything,
    make,
    order,
    python,
    read_tables,
    sorted_down,
)
from tests.support.envelopes import rules_with
from tests.support.patience import PATIENCE
from wakumail.archive.archive import Appended, Archive, Day, PageState, Query, Stat
from wakumail.errors import ArchiveError
from wakumail.waku.envelope import Envelope, judge, parse_stream

EVERYTHING = Query(0, 2**32 - 1)
SMALL_MAP = 256 << 10
CHUNK_SIZE = 2 * 4096 - 16


def test_an_empty_archive(tmp_path: Path) -> None:
    with Archive(tmp_path / "deep" / "down") as archive:
        assert archive.path == str(tmp_path / "deep" / "down")
        envelopes, size, file_bytes, *rest = archive.stat()
        assert (envelopes, size, rest) == (0, 0, [0, None, None, 0, 0, 0, 0])
        assert 0 < file_bytes < 40_000
        assert archive.days() == []
        assert archive.append([]) == Appended(0, 0, 0, 0)
        assert archive.append([batch_of([])]) == Appended(0, 0, 0, 0)
        page = archive.page_job(EVERYTHING, limit=10, max_bytes=1000).do()
        assert page == (b"\xc0", 0, b"", b"", PageState.EXHAUSTED)
        assert archive.follow(0, max_bytes=1000) == (b"", 0)
        assert not archive.contains(0, bytes(32))
    check_tables(read_tables(tmp_path / "deep" / "down"), [])


@pytest.mark.parametrize("size", [10, 900, 9000, 70_000])
def test_tables_agree_after_commits_of_every_size(tmp_path: Path, size: int) -> None:
    stored = make(150, size=size)
    with Archive(tmp_path) as archive:
        at = 0
        for count in (1, 1, 1, 2, 40, 1, 5, 99):
            archive.append([batch_of(stored[at : at + count])])
            at += count
    check_tables(read_tables(tmp_path), stored)


def test_several_batches_are_one_commit_and_come_back_after_reopening(tmp_path: Path) -> None:
    stored = make(500)
    with Archive(tmp_path) as archive:
        appended = archive.append([batch_of(stored[:100]), batch_of([]), batch_of(stored[100:])])
        assert appended == Appended(500, 0, sum(len(each.rlp) for each in stored), 500)
    with Archive(tmp_path) as archive:
        assert everything(archive) == sorted_down(stored)
        assert all(archive.contains(each.created, each.hash) for each in stored)
        assert not archive.contains(stored[0].created, bytes(32))
        assert not archive.contains(stored[0].created - 1, stored[0].hash)


def test_duplicates_are_stored_once(tmp_path: Path) -> None:
    one, two, three = make(3)
    with Archive(tmp_path) as archive:
        assert archive.append([batch_of([one, two, one])])[:2] == (2, 1)
        assert archive.append([batch_of([two])]) == Appended(0, 1, 0, 2)
        assert archive.append([batch_of([two]), batch_of([three, three])])[:2] == (1, 2)
        assert archive.stat().envelopes == 3
    check_tables(read_tables(tmp_path), [one, two, three])


def test_only_accepted_envelopes_are_stored(tmp_path: Path) -> None:
    good, low, late = (envelope(START - age, b"abcd", 1) for age in (0, 1, 1000))
    assert low.pow != good.pow
    good, low = sorted((good, low), key=lambda each: -each.pow)
    packet = batch_of([late, good, low]).raw
    batch = judge(packet, rules_with(min_pow=good.pow), START)
    assert batch.accepted == 1
    with Archive(tmp_path) as archive:
        assert archive.append([batch]) == Appended(1, 0, len(good.rlp), 1)
        assert everything(archive) == [good]


def test_totals(tmp_path: Path) -> None:
    stored = [
        envelope(START + second, topic, 1) for second in (0, DAY) for topic in (b"abcd", b"wxyz")
    ]
    size = len(stored[0].rlp)
    with Archive(tmp_path) as archive:
        archive.append([batch_of(stored[:3])])
        archive.append([batch_of(stored[2:])])
        used, free = archive.stat()[2:4]
        assert archive.stat() == Stat(4, 4 * size, used, free, START, START + DAY, 4, 2, 0, 0)
        assert archive.days() == [
            Day(START, 2, 2 * size, 2, 2),
            Day(START + DAY, 2, 2 * size, 2, 2),
        ]


def test_small_commits_fill_chunks(tmp_path: Path) -> None:
    """Envelopes that come a few at a time need no more chunks; no chunk exceeds its size."""
    stored = make(300, spread=1000, size=500)
    with Archive(tmp_path, sync=False) as archive:
        for each in stored:
            archive.append([batch_of([each])])
    chunks = read_tables(tmp_path)["chunks"]
    assert len(chunks) < 30
    assert sum(-(-len(value) // 4096) * 4096 for value in chunks.values()) < 300 * 540 * 1.1
    assert max(map(len, chunks.values())) <= CHUNK_SIZE


def test_a_large_commit_is_cut_into_chunks(tmp_path: Path) -> None:
    stored = [*make(400, spread=1000, size=500), *make(2, first=400, spread=1000, size=100_000)]
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(stored)])
    chunks = read_tables(tmp_path)["chunks"]
    alone = [value for value in chunks.values() if len(value) > CHUNK_SIZE]
    assert [int.from_bytes(value[:4], "big") for value in alone] == [1, 1]
    assert len(chunks) <= 2 + 3 + 400 // (CHUNK_SIZE // 540)


def test_the_file_stays_within_the_target(tmp_path: Path) -> None:
    """At most 1.3 times the raw bytes, for envelopes of 538 bytes and a thousand topics."""
    source = random.Random(3)
    with Archive(tmp_path, sync=False) as archive:
        for commit in range(20):
            stored = [
                envelope(
                    START + 3000 * commit + each, source.randrange(1000).to_bytes(4), each, 514
                )
                for each in range(1000)
            ]
            archive.append([batch_of(stored)])
        assert len(stored[0].rlp) in range(530, 545)
        result = archive.stat()
    assert result.file_bytes < 1.3 * result.bytes


@pytest.mark.parametrize("ahead", [False, True])
def test_following_gives_every_envelope_once_in_the_order_of_commits(
    tmp_path: Path, ahead: bool
) -> None:
    old = make(50, first=100, start=START - 10 * DAY)
    commits = [make(30), make(1, first=30), old, make(3, first=31, size=70_000)]
    seen: list[Envelope] = []
    sequence = 0
    with Archive(tmp_path, sync=False) as archive:
        archive._read_ahead_always(ahead)
        for commit in commits:
            archive.append([batch_of(commit)])
            while True:
                dump, following = archive.follow(sequence, max_bytes=1000)
                if following == sequence:
                    assert dump == b""
                    break
                batch, used = parse_stream(dump, final=True)
                assert used == len(dump)
                assert len(batch) == following - sequence
                assert len(dump) <= 1000 or len(batch) == 1
                seen += batch
                sequence = following
            assert sorted(seen[-len(commit) :], key=order) == sorted(commit, key=order)
        assert len(seen) == sequence == archive.stat().next_sequence
        assert parse_stream(archive.follow(0, max_bytes=2**31)[0], final=True)[0].accepted == 84
        assert archive.follow(2**40, max_bytes=10) == (b"", 2**40)
        for wrong in (-1, 2**47):
            with pytest.raises(ValueError, match="47 bits"):
                archive.follow(wrong, max_bytes=10)


def test_the_map_grows_from_small_commits_and_within_a_large_one(tmp_path: Path) -> None:
    stored = make(4000, size=1000)
    with Archive(tmp_path, sync=False, map_size=SMALL_MAP) as archive:
        for at in range(0, 1000, 50):
            archive.append([batch_of(stored[at : at + 50])])
        assert archive.append([batch_of(stored[1000:])]).stored == 3000
        assert everything(archive) == sorted_down(stored)
    check_tables(read_tables(tmp_path), stored)


def test_threads_read_whole_commits_while_one_appends_and_the_map_grows(tmp_path: Path) -> None:
    """Each commit has 20 envelopes of one second: a reader sees all of them or none."""
    stop = threading.Event()
    failures: list[str] = []

    def read(archive: Archive) -> None:
        reads = 0
        while not stop.is_set() or not reads:
            seconds: dict[int, int] = {}
            for each in everything(archive):
                seconds[each.created] = seconds.get(each.created, 0) + 1
            if set(seconds.values()) - {20} or archive.stat().envelopes < 20 * len(seconds):
                failures.append(f"torn: {seconds}")
            reads += 1

    with Archive(tmp_path, sync=False, map_size=SMALL_MAP) as archive:
        threads = [threading.Thread(target=read, args=[archive]) for _ in range(3)]
        for thread in threads:
            thread.start()
        for commit in range(60):
            archive.append([batch_of(make(20, first=20 * commit, start=START + commit, spread=1))])
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures
        assert archive.stat().envelopes == 1200


def test_two_threads_append(tmp_path: Path) -> None:
    stored = make(2000)
    with Archive(tmp_path, sync=False, map_size=SMALL_MAP) as archive:

        def append(first: int) -> None:
            for at in range(first, 2000, 100):
                archive.append([batch_of(stored[at : at + 100])])

        threads = [threading.Thread(target=append, args=[first]) for first in (0, 0, 50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert archive.stat().next_sequence == 2000
    check_tables(read_tables(tmp_path), stored)


def test_closing_waits_for_readers(tmp_path: Path) -> None:
    archive = Archive(tmp_path, sync=False)
    archive.append([batch_of(make(1000))])
    results: list[object] = []

    def read() -> None:
        try:
            while True:
                results.append(len(everything(archive)))
        except ArchiveError as error:
            results.append(str(error))

    thread = threading.Thread(target=read)
    thread.start()
    while not results:
        pass
    archive.close()
    thread.join()
    assert set(results[:-1]) == {1000}
    assert "closed" in str(results[-1])


FOLLOW_ALL = """
import sys
from wakumail.archive.archive import Archive, Query
from wakumail.waku.envelope import parse_stream
with Archive(sys.argv[1], readonly=True) as archive:
    print("open", flush=True)
    sequence = 0
    while sequence < int(sys.argv[2]):
        dump, following = archive.follow(sequence, max_bytes=5000)
        assert len(parse_stream(dump, final=True)[0]) == following - sequence
        page = archive.page_job(Query(0, 2**32 - 1), limit=2**31, max_bytes=2**31).do()
        assert page.count % 20 == 0 and page.count >= sequence, (page.count, sequence)
        sequence = following
"""


def test_two_processes_read_while_one_writes(tmp_path: Path) -> None:
    """The file also grows beyond the map with which the processes began."""
    with Archive(tmp_path, sync=False, map_size=SMALL_MAP) as archive:
        readers = [
            subprocess.Popen(
                [sys.executable, "-c", FOLLOW_ALL, str(tmp_path), "2000"], stdout=subprocess.PIPE
            )
            for _ in range(2)
        ]
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == b"open\n"
        for commit in range(100):
            archive.append([batch_of(make(20, first=20 * commit, size=500))])
        for reader in readers:
            assert reader.wait(PATIENCE) == 0
            assert reader.stdout is not None
            reader.stdout.close()


APPEND_FOREVER = """
import sys
from tests.support.archive_model import batch_of, make
from wakumail.archive.archive import Archive
with Archive(sys.argv[1], map_size=256 << 10) as archive:
    for commit in range(10**9):
        archive.append([batch_of(make(7, first=7 * commit))])
        print(commit, flush=True)
"""


@pytest.mark.parametrize("commits", [1, 9, 40])
def test_what_was_confirmed_survives_a_killed_writer(tmp_path: Path, commits: int) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", APPEND_FOREVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    for _ in range(commits):
        writer.stdout.readline()
    writer.kill()
    confirmed = [*range(commits), *map(int, writer.stdout.read().split())]
    writer.wait()
    writer.stdout.close()
    with Archive(tmp_path) as archive:
        stored = everything(archive)
        for commit in confirmed:
            assert set(make(7, first=7 * commit)) <= set(stored)
        archive.append([batch_of(make(7, first=7 * 10**6))])
    check_tables(read_tables(tmp_path), [*stored, *make(7, first=7 * 10**6)])


READ_FOREVER = """
import sys
from wakumail.archive.archive import Archive
verification = Archive(sys.argv[1], readonly=True).verify()
print("reading", flush=True)
sys.stdin.read()
"""


def test_a_killed_reader_does_not_make_the_file_grow(tmp_path: Path) -> None:
    with Archive(tmp_path, sync=False) as archive:
        reader = subprocess.Popen(
            [sys.executable, "-c", READ_FOREVER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert reader.stdin is not None
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"reading\n"
        reader.kill()
        reader.wait()
        reader.stdin.close()
        reader.stdout.close()
        for each in make(300):
            archive.append([batch_of([each])])
        assert (tmp_path / "data.mdb").stat().st_size < 4 * archive.stat().file_bytes


FILL_DISK = """
import resource, sys
from tests.support.archive_model import batch_of, everything, make
from wakumail.archive.archive import Archive
from wakumail.errors import ArchiveFull
limit = 600_001
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
with Archive(sys.argv[1]) as archive:
    stored = []
    refused = 0
    for commit in range(20):
        added = make(50, first=50 * commit, size=1500)
        try:
            archive.append([batch_of(added)])
        except ArchiveFull as error:
            assert "full" in str(error), error
            refused += 1
            assert set(everything(archive)) == set(stored)
            if refused == 3:
                limit = resource.RLIM_INFINITY
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        else:
            stored += added
    assert refused == 3 and len(stored) == 17 * 50, (refused, len(stored))
    assert set(everything(archive)) == set(stored)
"""


def test_a_full_disk_refuses_writes_and_nothing_else(tmp_path: Path) -> None:
    """The limit on the file's size is not a multiple of a page, so there is a short write first."""
    python(FILL_DISK, tmp_path)


USE_AFTER_FORK = """
import os, sys
from wakumail.archive.archive import Archive
from wakumail.errors import ArchiveError
archive = Archive(sys.argv[1], sync=False)
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
    assert archive.stat().envelopes == 0
else:
    try:
        archive.stat()
    except ArchiveError as error:
        assert "fork" in str(error), error
    else:
        raise AssertionError
    archive.close()
    with Archive(sys.argv[1]) as own:
        own.stat()
"""


def test_a_fork_needs_an_archive_of_its_own(tmp_path: Path) -> None:
    python(USE_AFTER_FORK, tmp_path)
