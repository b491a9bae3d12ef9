"""Verification: a sound archive passes, each kind of damage is found and named, none is fatal."""

import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.archive_model import (
    DAY,
    START,
    Tables,
    batch_of,
    envelope,
    make,
    number,
    python,
    read_tables,
)
from wakumail.archive import page_check
from wakumail.archive.archive import Archive
from wakumail.errors import ArchiveError

Edit = tuple[str, bytes, bytes | None]

EDIT = """
import itertools, lmdb, sys
edits = iter(sys.argv[1:])
rows = zip(edits, edits, edits, edits)
for path, changes in itertools.groupby(rows, lambda row: row[0]):
    with lmdb.open(path, max_dbs=16, sync=False) as env, env.begin(write=True) as txn:
        for _, table, key, value in changes:
            db = env.open_db(table.encode(), txn)
            if value == "-":
                assert txn.delete(bytes.fromhex(key), db=db)
            else:
                txn.put(bytes.fromhex(key), bytes.fromhex(value), db=db)
"""


def edit(edits: Sequence[tuple[Path, Edit]]) -> None:
    """Change rows behind the archive's back; a value of None deletes the row."""
    arguments: list[object] = []
    for path, (table, key, value) in edits:
        arguments += [path, table, key.hex(), "-" if value is None else value.hex()]
    python(EDIT, *arguments)


def verify(path: Path) -> list[str]:
    """All problems of an archive that has few."""
    with Archive(path, readonly=True) as archive, archive.verify() as verification:
        for _ in verification:
            pass
        problems = verification.describe()
        assert verification.problems == len(problems)
    return problems


def verify_sound(archive: Archive) -> None:
    with archive.verify() as verification:
        assert sum(verification) == verification.total
        assert verification.describe() == []
        assert verification.problems == 0
        assert verification.envelopes == archive.stat().envelopes


# -- sound archives -------------------------------------------------------------------------------


def test_an_empty_archive_is_sound(tmp_path: Path) -> None:
    with Archive(tmp_path) as archive:
        verify_sound(archive)


@given(
    actions=st.lists(
        st.one_of(
            st.lists(st.integers(0, 300), min_size=1, max_size=60),
            st.tuples(st.integers(0, 3 * DAY), st.integers(1, 40)),
        ),
        max_size=12,
    )
)
@settings(max_examples=50, deadline=None)
def test_whatever_was_appended_and_pruned_the_archive_is_sound(
    tmp_path_factory: pytest.TempPathFactory, actions: list[list[int] | tuple[int, int]]
) -> None:
    """Old envelopes that come late, and again, beside those that were pruned but lie there yet."""
    with Archive(tmp_path_factory.mktemp("sound"), sync=False) as archive:
        for action in actions:
            if isinstance(action, tuple):
                archive.prune(START + action[0], limit=action[1])
            else:
                numbers = {each * 877 % (3 * DAY): each for each in action}
                archive.append(
                    [
                        batch_of(
                            envelope(START + second, bytes([0, 0, 0, each % 7]), each, 300)
                            for second, each in numbers.items()
                        )
                    ]
                )
            verify_sound(archive)


def test_large_envelopes_and_many_steps(tmp_path: Path) -> None:
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(make(2000, size=600))])
        archive.append([batch_of([envelope(START, b"vast", 9, 900_000)])])
        verify_sound(archive)
        with archive.verify() as verification:
            steps = list(verification)
        assert len(steps) > 8
        assert max(steps) < 1_200_000
        assert sorted(steps)[-2] < 400_000


APPEND_FOREVER = """
import sys
from tests.support.archive_model import batch_of, make
from wakumail.archive.archive import Archive
first = int(sys.argv[2])
batches = [batch_of(make(40, first=first + each, size=300)) for each in range(0, 4000, 40)]
with Archive(sys.argv[1]) as archive:
    print("go", flush=True)
    for each in batches:
        archive.append([each])
        archive.prune(19_000 * 86400 + 40_000, limit=20)
"""


def test_an_archive_whose_writers_were_killed_is_sound(tmp_path: Path) -> None:
    for kill in range(4):
        command = [sys.executable, "-c", APPEND_FOREVER, str(tmp_path), str(kill * 4000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"go\n"
            with pytest.raises(subprocess.TimeoutExpired):
                writer.wait(random.random() * 0.05)
            writer.kill()
            assert writer.wait() == -signal.SIGKILL
        with Archive(tmp_path, readonly=True) as archive:
            verify_sound(archive)


# -- one state, while others work -----------------------------------------------------------------


def test_it_sees_one_state_while_the_file_grows(tmp_path: Path) -> None:
    with Archive(tmp_path, sync=False, map_size=1 << 20) as archive:
        archive.append([batch_of(make(1000, size=300))])
        with archive.verify() as verification:
            seen = next(verification)
            archive.append([batch_of(make(8000, first=1000, size=600))])
            archive.prune(START + DAY, limit=10_000)
            archive.append([batch_of(make(8000, first=9000, size=600))])
            seen += sum(verification)
            assert seen == verification.total
            assert (verification.problems, verification.envelopes) == (0, 1000)
        verify_sound(archive)


def test_two_threads_share_one(tmp_path: Path) -> None:
    with Archive(tmp_path, sync=False) as archive, ThreadPoolExecutor(2) as threads:
        archive.append([batch_of(make(8000, size=600))])
        with archive.verify() as verification:
            assert sum(threads.map(sum, [verification, verification])) == verification.total
            assert (verification.problems, verification.envelopes) == (0, 8000)


def test_closing_ends_it(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.append([batch_of(make(10))])
    ended, left = archive.verify(), archive.verify()
    ended.close()
    ended.close()
    with pytest.raises(ArchiveError, match="closed"):
        next(ended)
    assert next(left) > 0
    archive.close()
    with pytest.raises(ArchiveError, match="closed"):
        next(left)
    assert left.problems == 0
    left.close()
    with pytest.raises(ArchiveError, match="closed"):
        archive.verify()
    with Archive(tmp_path) as again:
        verify_sound(again)
        kept = again.verify()
    del again
    kept.close()


def test_it_pins_pages_only_while_it_is_open(tmp_path: Path) -> None:
    def churn(archive: Archive) -> int:
        for round_ in range(10):
            archive.append([batch_of(make(500, first=round_ * 500, size=300))])
            while archive.prune(2**32, limit=500).more:
                pass
        return (tmp_path / "data.mdb").stat().st_size

    with Archive(tmp_path, sync=False) as archive:
        churn(archive)
        size = churn(archive)
        with archive.verify():
            grown = churn(archive)
        assert grown > size
        assert churn(archive) == churn(archive) == grown


# -- damage ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tables]:
    """An archive of three days in several chunks, and its rows."""
    path = tmp_path_factory.mktemp("intact")
    with Archive(path, sync=False) as archive:
        archive.append([batch_of(make(150, size=200))])
        archive.append([batch_of(make(150, first=150, size=200))])
    return path, read_tables(path)


def plus(value: bytes, more: int = 1) -> bytes:
    return (number(value) + more).to_bytes(len(value), "big")


def damages(tables: Tables) -> Iterator[tuple[list[Edit], str]]:
    """Edits, and what must be said of them."""
    row = {name: next(iter(rows.items())) for name, rows in tables.items()}
    middle = {name: list(rows.items())[len(rows) // 2] for name, rows in tables.items()}

    key, value = middle["times"]
    place = f"sequence {number(value[4:])}, hash {key[4:].hex()}"
    yield [("times", key, None)], f"missing in `times` (day {number(key[:4]) // DAY}, {place}"
    yield [("times", *row["times"][:1], None)], "a row of `postings` has none in `times`"
    yield [("times", key, value[:4] + plus(value[4:]))], "`times` has another sequence for"
    yield [("times", key, b"none" + value[4:])], "`times` has another topic for an envelope"
    yield [("times", key, value + b"!")], "a row of `times` has the wrong size"
    yield [("times", key[:-1], value)], f"wrong size (key {key[:-1].hex()})"
    for other in (plus(key), bytes(20)):
        yield [("times", other, value)], "leads to no envelope, or another one (day "

    key, value = middle["postings"]
    yield [("postings", key, None)], f"missing in `postings` (day {number(key[:2])}, sequence "
    yield [("postings", key, plus(value))], "`postings` has another sequence for an envelope"
    yield [("postings", key, value[1:])], "a row of `postings` has the wrong size"
    yield [("postings", key + b"!", value)], f"`postings` has the wrong size (key {key.hex()}21)"
    yield [("postings", plus(key), value)], "a row of `postings` has none in `times` (day "
    yield [("postings", b"\xff" * 25, value)], "a row of `postings` has none in `times` (day 65535"

    key, value = middle["topics"]
    place = f"1 found (day {number(key[:2])}, topic {key[2:].hex()})"
    count = number(value)
    yield (
        [("topics", key, plus(value, 3))],
        f"envelopes: {count + 3} stored, {place.replace('1', str(count), 1)}",
    )
    yield [("topics", key, None)], f"(day {number(key[:2])}, topic {key[2:].hex()})"
    yield [("topics", key, b"")], "a row of `topics` has the wrong size"
    yield [("topics", b"\0\0none", bytes(4))], "a topic without envelopes (day 0, topic 6e6f6e65)"
    yield [("topics", b"\xff\xffnone", bytes(4))], "`topics` has a topic without envelopes"

    key, value = middle["days"]
    day = f"found (day {number(key)})"
    yield [("days", key, plus(value[:8]) + value[8:])], "`days` miscounts the envelopes: "
    yield [("days", key, value[:8] + plus(value[8:16]) + value[16:])], "miscounts the bytes: "
    yield [("days", key, value[:16] + plus(value[16:]))], f"topics: {number(value[16:]) + 1} stor"
    yield [("days", key, None)], f"miscounts the envelopes: 0 stored, {number(value[:8])} {day}"
    yield [("days", key, value[1:])], f"a row of `days` has the wrong size (key {key.hex()})"
    yield [("days", b"\xff\xff", value)], "0 found (day 65535)"

    key, value = middle["chunks"]
    count = number(value[:4])
    place = f"(day {number(key[:2])}, sequence {number(key[2:])})"
    first = f"(day {number(key[:2])}, sequence {number(key[2:]) + 1 - count})"
    data = 4 + 4 * count
    yield [("chunks", key, None)], f"`arrivals` names a chunk that is missing {place}"
    yield [("chunks", key, None)], "leads to no envelope, or another one"
    yield [("chunks", key, value[:-1])], f"a chunk's parts do not fit together {place}"
    yield [("chunks", key, b"")], "a chunk's parts do not fit together"
    yield [("chunks", key, bytes(4) + value[4:])], "a chunk's parts do not fit together"
    yield (
        [("chunks", key, value[:4] + b"\xff" * 4 + value[8:])],
        f"a chunk does not say where an envelope ends {first}",
    )
    yield (
        [("chunks", key, value[:4] + plus(value[4:8]) + value[8:])],
        f"an envelope is not canonical RLP {first}",
    )
    yield (
        [("chunks", key, value[:data] + b"\x80" + value[data + 1 :])],
        f"an envelope is not canonical RLP {first}",
    )
    yield (
        [("chunks", key, value[: data + 60] + b"\0" + value[data + 61 :])],
        f"an envelope is missing in `times` {first[:-1]}, hash ",
    )
    yield [("chunks", plus(key), value)], "a chunk is missing in `arrivals` (day "
    yield (
        [("chunks", key[:-1], value)],
        f"a row of `chunks` has the wrong size (key {key[:-1].hex()}",
    )
    other_day = plus(key[:2]) + key[2:]
    yield (
        [("chunks", key, None), ("chunks", other_day, value), ("arrivals", key[2:], other_day[:2])],
        "an envelope lies in the chunk of another day (day ",
    )
    late = key[:2] + (400).to_bytes(6, "big")
    yield [("chunks", late, value), ("arrivals", late[2:], late[:2])], "is yet to be given is there"
    twice = plus(key, -1)
    yield (
        [("chunks", twice, value), ("arrivals", twice[2:], twice[:2])],
        "a chunk has sequences that another one has, too (day ",
    )

    key, value = middle["arrivals"]
    place = f"(day {number(value)}, sequence {number(key)})"
    yield [("arrivals", key, None)], f"a chunk is missing in `arrivals` {place}"
    yield [("arrivals", key, plus(value))], f"a chunk is missing in `arrivals` {place}"
    yield [("arrivals", key, value + b"!")], f"`arrivals` has the wrong size (key {key.hex()})"
    yield [("arrivals", plus(key), value)], "`arrivals` names a chunk that is missing"

    yield [("meta", b"next", None)], "`meta` does not say the next sequence"
    yield [("meta", b"next", b"299")], "`meta` does not say the next sequence"
    yield [("meta", b"next", (299).to_bytes(6, "big"))], "is yet to be given is there (day "


def test_each_kind_of_damage_is_named(tmp_path: Path, intact: tuple[Path, Tables]) -> None:
    path, tables = intact
    assert verify(path) == []
    cases = list(damages(tables))
    edits: list[tuple[Path, Edit]] = []
    for case, (rows, _) in enumerate(cases):
        shutil.copytree(path, tmp_path / str(case))
        edits += [(tmp_path / str(case), row) for row in rows]
    edit(edits)
    for case, (rows, expected) in enumerate(cases):
        problems = verify(tmp_path / str(case))
        assert any(expected in each for each in problems), "\n".join(
            [str(rows), expected, *problems]
        )


def mutations(tables: Tables, count: int) -> list[Edit]:
    """Rows with one byte changed, as often in each table."""
    source = random.Random(0)
    mutated: list[Edit] = []
    for table, rows in tables.items():
        for _ in range(count):
            key, value = source.choice(list(rows.items()))
            at = source.randrange(len(value))
            # What lies in the first bytes of a chunk matters more than its envelopes do.
            at = source.choice([at, min(at, 40)])
            byte = bytes([value[at] ^ source.randrange(1, 256)])
            mutated.append((table, key, value[:at] + byte + value[at + 1 :]))
    return mutated


def test_a_changed_byte_is_found_or_harmless(tmp_path: Path, intact: tuple[Path, Tables]) -> None:
    path, tables = intact
    next_sequence = tables["meta"][b"next"]
    rows = [each for each in mutations(tables, 30) if each[1] != b"format"]
    for case in range(len(rows)):
        shutil.copytree(path, tmp_path / str(case))
    edit([(tmp_path / str(case), row) for case, row in enumerate(rows)])
    for case, (table, key, value) in enumerate(rows):
        problems = verify(tmp_path / str(case))
        harmless = key == b"next" and value is not None and value > next_sequence
        assert bool(problems) != harmless, (table, key, value)


def test_problems_are_counted_and_the_first_hundred_described(tmp_path: Path) -> None:
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(make(150, size=200))])
    tables = read_tables(tmp_path)
    rows = tables["times"].items()
    edit([(tmp_path, ("times", key, value[:4] + bytes(2) + b"late")) for key, value in rows])
    with Archive(tmp_path) as archive, archive.verify() as verification:
        while next(verification, None) is not None:
            pass
        assert verification.problems > 300
        assert len(verification.describe()) == 100
        assert verification.envelopes == 0


def break_overflow_page(path: Path) -> None:
    """Let a row of `chunks` say that its value lies in a page beyond the end."""
    key, _ = max(read_tables(path)["chunks"].items(), key=lambda row: len(row[1]))
    content = (path / "data.mdb").read_bytes()
    places = [at for at in range(len(content)) if content.startswith(key, at)]
    damaged = bytearray(content)
    for at in places:
        damaged[at + 8 : at + 16] = b"\xff\xff\xff\x7f\0\0\0\0"
    (path / "data.mdb").write_bytes(damaged)


def test_a_damaged_page_ends_it(tmp_path: Path) -> None:
    with Archive(tmp_path) as archive:
        archive.append([batch_of(make(300, size=600))])
    break_overflow_page(tmp_path)
    assert any("LMDB met a damaged page" in each for each in verify(tmp_path))
    count, told = page_check.check_pages(tmp_path)
    assert count >= len(told) > 0


# -- the pages ------------------------------------------------------------------------------------


def test_the_pages_of_a_sound_archive(tmp_path: Path) -> None:
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(make(3000, size=300))])
        archive.prune(START + DAY, limit=3000)
    assert page_check.check_pages(tmp_path) == (0, [])


def test_damaged_pages_are_counted(tmp_path: Path) -> None:
    with Archive(tmp_path) as archive:
        archive.append([batch_of(make(3000, size=300))])
    content = bytearray((tmp_path / "data.mdb").read_bytes())
    content[8 * 4096 : -4096] = bytes(len(content) - 9 * 4096)
    (tmp_path / "data.mdb").write_bytes(content)
    count, told = page_check.check_pages(tmp_path)
    assert count >= len(told) > 0
    assert len(told) <= page_check.MAX_TOLD


def test_what_cannot_be_checked_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArchiveError, match="No such file"):
        page_check.check_pages(tmp_path)
    (tmp_path / "data.mdb").write_bytes(b"no archive " * 1000)
    with pytest.raises(ArchiveError, match="the pages cannot be checked"):
        page_check.check_pages(tmp_path)
    program = page_check.PROGRAM.replace("from lmdb import", "from no_such_lmdb import")
    monkeypatch.setattr(page_check, "PROGRAM", program)
    with pytest.raises(ArchiveError, match=r'needs the package lmdb: pip install "lmdb>=3"'):
        page_check.check_pages(tmp_path)
