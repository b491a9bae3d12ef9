"""Edits of an archive's file that damage it, and the problems that have to be reported."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.archive_model import (
    DAY,
    MOVED,
    SORTED,
    START,
    Tables,
    batch_of,
    make,
    number,
    python,
    read_tables,
)
from wakumail.archive.archive import Archive
from wakumail.waku.envelope import Envelope

NO_SLOT = b"\xff" * 4

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
    """Change rows without the archive. A value of None deletes the row."""
    arguments: list[object] = []
    for path, (table, key, value) in edits:
        arguments += [path, table, key.hex(), "-" if value is None else value.hex()]
    python(EDIT, *arguments)


def plus(value: bytes, more: int = 1) -> bytes:
    return (number(value) + more).to_bytes(len(value), "big")


def make_intact(path: Path) -> Tables:
    """Make an archive of three days in several chunks. Returns its rows."""
    with Archive(path, sync=False) as archive:
        archive.append([batch_of(make(150, size=200))])
        archive.append([batch_of(make(150, first=150, size=200))])
    return read_tables(path)


def make_sorted(path: Path) -> Tables:
    """Make such an archive of which one day is sorted, and the next one half. Returns its rows."""
    make_intact(path)
    with Archive(path, sync=False) as archive:
        while archive.sort(START, max_bytes=5000, max_seconds=60).more:
            pass
        while archive.days()[1].unsorted > 50:
            archive.sort(START + DAY, max_bytes=5000, max_seconds=60)
        assert archive.sorting() == START + DAY
    return read_tables(path)


def is_sorted(place: bytes) -> bool:
    return number(place) >= SORTED


def sorted_damages(tables: Tables) -> Iterator[tuple[list[Edit], str]]:
    """As `damages`, of an archive with sorted days."""
    chunks = list(tables["chunks"].items())
    key, value = next(row for row in chunks if number(row[1][:4]) & MOVED)
    place = f"(day {number(key[:2])}, sequence {number(key[2:])})"
    first = number(key[2:]) + 1 - (number(value[:4]) & ~MOVED)
    at = f"(day {number(key[:2])}, sequence {first})"
    yield [("chunks", key, value[:4] + value[8:12] + value[8:])], "a slot arrived twice"
    yield [("chunks", key, value[:4] + bytes([255, 255, 255, 0]) + value[8:])], f"no chunk {at}"
    yield (
        [("chunks", key, value[:4] + NO_SLOT + value[8:])],
        f"an envelope is missing in the order of arrival (day {number(key[:2])}, slot ",
    )
    yield [("chunks", key, value[:-1])], f"a chunk's parts do not fit together {place}"

    key, value = next(row for row in chunks if is_sorted(row[0][2:]))
    place = f"(day {number(key[:2])}, slot {number(key[2:]) - SORTED})"
    yield [("chunks", key, None)], "leads to no envelope, or another one (day "
    yield [("chunks", key, value[:-1])], f"a chunk's parts do not fit together {place}"
    yield (
        [("chunks", plus(key), value)],
        f"a chunk has slots that another one has, too (day {number(key[:2])}, slot ",
    )

    copies = {
        each: place
        for each, place in tables["postings"].items()
        if is_sorted(place)
        and not is_sorted(
            tables["times"][
                (number(each[:2]) * DAY + number(each[6:9])).to_bytes(4, "big") + each[9:]
            ][4:]
        )
    }
    key, value = next(iter(copies.items()))
    yield [("postings", key, plus(value, 10**6))], "and copies differ in number"
    key, value = next(row for row in tables["times"].items() if is_sorted(row[1][4:]))
    day = f"(day {number(key[:4]) // DAY}, slot {number(value[4:]) - SORTED}, hash "
    yield [("times", key, value[:4] + plus(value[4:]))], f"has another place for an envelope {day}"
    key, value = next(iter(tables["days"].items()))
    yield (
        [("days", key, value[:20] + plus(value[20:28]) + value[28:])],
        "`days` miscounts the unsorted envelopes: 1 stored, 0 found",
    )
    yield [("meta", b"sorting", bytes(11))], "`meta` does not say where the sorting goes on"


def damages(tables: Tables) -> Iterator[tuple[list[Edit], str]]:
    """Each edit, with the problems that have to be reported."""
    row = {name: next(iter(rows.items())) for name, rows in tables.items()}
    middle = {name: list(rows.items())[len(rows) // 2] for name, rows in tables.items()}

    key, value = middle["times"]
    place = f"sequence {number(value[4:])}, hash {key[4:].hex()}"
    yield [("times", key, None)], f"missing in `times` (day {number(key[:4]) // DAY}, {place}"
    yield [("times", *row["times"][:1], None)], "a row of `postings` has none in `times`"
    yield [("times", key, value[:4] + plus(value[4:]))], "`times` has another place for"
    yield [("times", key, b"none" + value[4:])], "`times` has another topic for an envelope"
    yield [("times", key, value + b"!")], "a row of `times` has the wrong size"
    yield [("times", key[:-1], value)], f"wrong size (key {key[:-1].hex()})"
    for other in (plus(key), bytes(20)):
        yield [("times", other, value)], "leads to no envelope, or another one (day "

    key, value = middle["postings"]
    yield [("postings", key, None)], f"missing in `postings` (day {number(key[:2])}, sequence "
    yield [("postings", key, plus(value))], "`postings` has another place for an envelope"
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
    topics = plus(value[16:20])
    yield [("days", key, value[:16] + topics + value[20:])], f"topics: {number(topics)} stored"
    yield (
        [("days", key, value[:-1] + plus(value[-1:]))],
        f"`days` has another sum (day {number(key)})",
    )
    yield [("days", key, None)], f"miscounts the envelopes: 0 stored, {number(value[:8])} {day}"
    yield [("days", key, value[1:])], f"a row of `days` has the wrong size (key {key.hex()})"
    yield [("days", b"\xff\xff", value)], "0 found (day 65535)"

    key, value = middle["sums"]
    place = f"(day {number(key) // 1440}, key {key.hex()})"
    count = number(value[:4])
    yield (
        [("sums", key, plus(value[:4]) + value[4:])],
        f"`sums` miscounts the envelopes of a minute: {count + 1} stored, {count} found {place}",
    )
    yield [("sums", key, value[:-1] + plus(value[-1:]))], f"another sum for a minute {place}"
    yield [("sums", key, None)], f"missing in `sums` (day {number(key) // 1440}, sequence "
    yield [("sums", key, value[1:])], f"a row of `sums` has the wrong size (key {key.hex()})"
    yield [("sums", plus(key, 10**6), value)], f"{count} stored, 0 found (day "
    yield [("sums", b"\xff" * 4, bytes(36))], "`sums` has a minute without envelopes (day "

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
    yield (
        [("chunks", late, value), ("arrivals", late[2:], late[:2])],
        "was not assigned yet is stored",
    )
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
    yield [("meta", b"pruned", None)], "`meta` does not say what was pruned"
    yield [("meta", b"pruned", bytes(5))], "`meta` does not say what was pruned"
    yield [("meta", b"next", (299).to_bytes(6, "big"))], "was not assigned yet is stored (day "


def break_envelope(path: Path, envelope: Envelope) -> None:
    """Let a stored envelope have a list in place of its topic, in the archive below `path`."""
    (file,) = path.rglob("data.mdb")
    data = bytearray(file.read_bytes())
    data[data.index(envelope.rlp) + envelope.rlp.index(envelope.topic) - 1] ^= 0x40
    file.write_bytes(data)


def flip_data(path: Path, envelope: Envelope) -> None:
    """Change the last byte of the data of a stored envelope, in the archive below `path`."""
    (file,) = path.rglob("data.mdb")
    data = bytearray(file.read_bytes())
    data[data.index(envelope.data) + len(envelope.data) - 1] ^= 0x80
    file.write_bytes(data)


def break_overflow_page(path: Path) -> None:
    """Let a row of `chunks` point to a page beyond the end of the file."""
    key, _ = max(read_tables(path)["chunks"].items(), key=lambda row: len(row[1]))
    content = (path / "data.mdb").read_bytes()
    places = [at for at in range(len(content)) if content.startswith(key, at)]
    damaged = bytearray(content)
    for at in places:
        damaged[at + 8 : at + 16] = b"\xff\xff\xff\x7f\0\0\0\0"
    (path / "data.mdb").write_bytes(damaged)
