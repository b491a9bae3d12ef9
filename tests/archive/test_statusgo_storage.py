"""Reading status-go's storage: real LevelDBs and a real PostgreSQL, sound rows and bad ones."""

import contextlib
import fcntl
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from tests.support.patience import PATIENCE
from tests.support.statusgo_rows import key, row, some
from tests.support.tools import tool
from tests.vectors import LEVELDB, VECTORS
from wakumail.archive import statusgo_storage
from wakumail.archive.archive import Archive
from wakumail.archive.dump import Source, SourcePart
from wakumail.archive.statusgo_storage import (
    FETCH_ROWS,
    TOPICLESS_KEY_SIZE,
    Row,
    StatusGoError,
    open_leveldb,
    open_postgres,
)
from wakumail.waku.bloom import topic_bloom
from wakumail.waku.envelope import MAX_STREAM_ENVELOPE, Envelope

PART_SIZE = 1 << 20
"""Bytes of a part of a source, in tests of parts."""
TABLE = """
    CREATE UNLOGGED TABLE envelopes (id BYTEA NOT NULL UNIQUE, data BYTEA NOT NULL,
                                     topic BYTEA NOT NULL, bloom BIT(512) NOT NULL)
"""
INSERT = "INSERT INTO envelopes (id, data, topic, bloom) VALUES (%b, %b, %b, %s::bit(512))"
READERS = "FROM pg_stat_activity WHERE state = 'idle in transaction'"

Open = Callable[..., AbstractContextManager[Source]]
Fill = Callable[[Iterable[Row]], Open]


def read(open_source: Open, after: bytes = b"") -> list[SourcePart]:
    with open_source(after=after) as source:
        return list(source.parts)


def envelopes(parts: Iterable[SourcePart]) -> list[Envelope]:
    return [envelope for part in parts for envelope in part.batch]


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URI of a PostgreSQL of our own, on a socket. It refuses to run as root."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    where = os.pathsep.join([*map(str, reversed(installed)), os.environ["PATH"]])
    initdb, server = tool("initdb", where), tool("postgres", where)
    user: dict[str, Any] = {"cwd": "/"}
    # Directories of pytest are closed to other users, and too long for the path of a socket.
    with tempfile.TemporaryDirectory(prefix="wakumail-") as directory:
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            user |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(directory, nobody.pw_uid, nobody.pw_gid)
        where_data = ["-D", f"{directory}/data"]
        make_it = [initdb, *where_data, "--no-sync", "--auth=trust", "--username=test"]
        made = subprocess.run(make_it, capture_output=True, text=True, **user)
        assert made.returncode == 0, made.stderr
        run_it = [server, *where_data, "-F", "-k", directory, "-c", "listen_addresses="]
        with subprocess.Popen(run_it, stderr=subprocess.PIPE, text=True, **user) as process:
            try:
                wait_until_ready(process)
                yield f"postgresql://test@/postgres?host={quote(directory, safe='')}"
            finally:
                process.send_signal(signal.SIGQUIT)  # end at once, even with open connections
                try:
                    process.communicate(timeout=PATIENCE)
                finally:
                    process.kill()


def wait_until_ready(process: "subprocess.Popen[str]") -> None:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "ready to accept connections" in line:
            return
    pytest.fail(f"PostgreSQL did not start: {''.join(said)}")


@pytest.fixture
def fill_leveldb(plyvel: Any, tmp_path: Path) -> Fill:
    path = tmp_path / "waku"

    def fill(rows: Iterable[Row]) -> Open:
        with contextlib.closing(plyvel.DB(str(path), create_if_missing=True)) as database:
            for name, value in rows:
                database.put(name, value)
        return partial(open_leveldb, path)

    return fill


schemas, roles = count(), count()


@pytest.fixture
def schema(postgres: str) -> str:
    """The URI of an empty schema for this test."""
    name = f"schema{next(schemas)}"
    with psycopg.connect(postgres) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{postgres}&options=-csearch_path%3D{name}"


@pytest.fixture
def fill_postgres(schema: str) -> Fill:
    def values(name: bytes, value: bytes) -> tuple[bytes, bytes, bytes, str]:
        topic = name[TOPICLESS_KEY_SIZE:].ljust(4, b"\0")[:4]
        return name, value, topic, f"{int.from_bytes(topic_bloom(topic), 'big'):0512b}"

    def fill(rows: Iterable[Row]) -> Open:
        with psycopg.connect(schema) as connection, connection.cursor() as cursor:
            cursor.execute(TABLE)
            cursor.executemany(INSERT, [values(*row) for row in rows])
        return partial(open_postgres, schema)

    return fill


@pytest.fixture(params=["leveldb", "postgres"])
def fill(request: pytest.FixtureRequest) -> Fill:
    """The tests that both storages share."""
    chosen: Fill = request.getfixturevalue(f"fill_{request.param}")
    return chosen


def test_rows_come_in_the_order_of_their_keys(fill: Fill) -> None:
    made = some(300)
    (part,) = read(fill(map(row, reversed(made))))
    assert list(part.batch) == made
    assert part.position == key(made[-1])
    assert (part.malformed, part.misplaced) == (0, 0)


def test_keys_as_status_go_makes_them(fill: Fill) -> None:
    rows = {}
    for case in VECTORS["envelopes"]["cases"]:
        if "rlp" in case:
            created = (case["expiry"] - case["ttl"]) % (1 << 32)
            name = f"{created:08x}{case['hash']}{case['topic']}"
            rows[bytes.fromhex(name)] = bytes.fromhex(case["rlp"])
    assert len(rows) > 10
    (part,) = read(fill(rows.items()))
    assert part.batch.raw == b"".join(rows[name] for name in sorted(rows))
    assert (part.malformed, part.misplaced) == (0, 0)


def test_keys_without_a_topic(fill: Fill) -> None:
    made = some(20)
    rows = [(key(e)[:TOPICLESS_KEY_SIZE] if e.nonce % 2 else key(e), e.rlp) for e in made]
    (part,) = read(fill(rows))
    assert list(part.batch) == made
    assert (part.malformed, part.misplaced) == (0, 0)


def test_rows_that_are_no_envelopes_are_counted(fill: Fill) -> None:
    made = some(40)
    one, two, three, *rest = made
    bad = [
        (key(one), b""),
        (key(two), b"\xc0"),
        (key(three), three.rlp + b"\0"),
        (b"version", b"1"),
        (b"\xff" * 50, b"\xff" * 50),
        (key(rest[0])[:-1] + b"?", rest[0].rlp[:-1]),
        (key(rest[1])[:-1] + b"?", rest[1].rlp + rest[2].rlp),
    ]
    (part,) = read(fill([*map(row, rest), *bad]))
    assert list(part.batch) == rest
    assert (part.malformed, part.misplaced) == (len(bad), 0)
    assert part.position == b"\xff" * 50


def test_an_empty_value_behind_envelopes_is_counted(fill: Fill) -> None:
    made = some(3)
    (part,) = read(fill([*map(row, made), (b"\xff", b"")]))
    assert list(part.batch) == made
    assert (part.malformed, part.misplaced) == (1, 0)


def test_an_envelope_cut_in_two_rows_is_none(fill: Fill) -> None:
    (envelope,) = some(1)
    halves = [(b"a", envelope.rlp[:50]), (b"b", envelope.rlp[50:])]
    (part,) = read(fill(halves))
    assert (len(part.batch), part.malformed, part.misplaced) == (0, 2, 0)


def test_lengths_that_lie_do_not_hide_a_neighbour(fill: Fill) -> None:
    """Joined, these rows are two envelopes again, but cut in another place."""
    one, two = some(2)
    rows = [(key(one), (one.rlp + two.rlp)[:-9]), (key(two), two.rlp[-9:])]
    (part,) = read(fill(rows))
    assert (len(part.batch), part.malformed, part.misplaced) == (0, 2, 0)


@pytest.mark.parametrize("at", [0, 3, 4, 35, 36, 39])
def test_every_part_of_the_key_has_to_fit(fill: Fill, at: int) -> None:
    made = some(10)
    name = bytearray(key(made[4]))
    name[at] ^= 1
    rows = [row(e) for e in made if e != made[4]]
    (part,) = read(fill([*rows, (bytes(name), made[4].rlp)]))
    assert list(part.batch) == [*made[:4], *made[5:]]
    assert (part.malformed, part.misplaced) == (0, 1)


@pytest.mark.parametrize("size", [0, 4, 35, 37, 39, 41])
def test_keys_of_another_size(fill_leveldb: Fill, size: int) -> None:
    (envelope,) = some(1)
    (part,) = read(fill_leveldb([((key(envelope) + b"\0")[:size], envelope.rlp)]))
    assert (len(part.batch), part.misplaced) == (0, 1)


def test_values_above_the_largest_size(fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    made = sorted(some(20), key=lambda e: len(e.rlp))
    assert len(made[-2].rlp) < len(made[-1].rlp) < MAX_STREAM_ENVELOPE
    monkeypatch.setattr(statusgo_storage, "MAX_STREAM_ENVELOPE", len(made[-2].rlp))
    (part,) = read(fill(map(row, made)))
    assert list(part.batch) == sorted(made[:-1], key=key)
    assert (part.malformed, part.misplaced) == (1, 0)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of PART_SIZE bytes, so that a source of some megabytes has several."""
    monkeypatch.setattr(statusgo_storage, "SOURCE_PART_SIZE", PART_SIZE)


@pytest.mark.usefixtures("small_parts")
def test_chunks_are_bounded_and_each_can_be_gone_on_after(fill: Fill) -> None:
    made = some(500, size=20_000)
    largest = max(len(e.rlp) for e in made)
    rows = [(b"\x01", b"garbage"), *map(row, made)]
    size = sum(len(name) + len(value) for name, value in rows)
    open_source = fill(rows)
    with open_source() as source:
        parts = list(source.parts)
        assert sum(part.done for part in parts) == {"B": size, "row": len(rows)}[source.unit]
    assert 2 < len(parts) <= size // PART_SIZE + 1
    assert envelopes(parts) == made
    assert all(len(part.batch.raw) < PART_SIZE + largest for part in parts)
    assert [part.malformed for part in parts] == [1, *[0] * (len(parts) - 1)]
    for done, part in enumerate(parts, start=1):
        rest = read(open_source, part.position)
        assert envelopes(rest) == envelopes(parts[done:])


def test_the_beginning_of_a_key_is_a_position(fill: Fill) -> None:
    made = some(100)
    since = made[50].created
    parts = read(fill(map(row, made)), since.to_bytes(4, "big"))
    assert envelopes(parts) == [e for e in made if e.created >= since]


def test_an_empty_storage(fill: Fill) -> None:
    assert read(fill([])) == []


def test_behind_the_last_key_is_nothing(fill: Fill) -> None:
    made = some(5)
    assert read(fill(map(row, made)), key(made[-1])) == []


def test_an_import_that_is_broken_off_goes_on(fill: Fill, tmp_path: Path) -> None:
    made = some(300, size=20_000)
    open_source = fill(map(row, made))
    (tmp_path / "archive").mkdir()
    with Archive(tmp_path / "archive") as archive:
        with open_source() as source:
            first = next(source.parts)
            archive.append([first.batch])
        stored = sum(archive.append([c.batch]).stored for c in read(open_source, first.position))
        assert len(first.batch) + stored == len(made)
        again = [archive.append([part.batch]) for part in read(open_source)]
        assert sum(appended.stored for appended in again) == 0
        assert sum(appended.duplicates for appended in again) == len(made)


def test_an_archive_takes_a_chunk_without_envelopes(fill: Fill, tmp_path: Path) -> None:
    (part,) = read(fill([(b"version", b"1")]))
    (tmp_path / "archive").mkdir()
    with Archive(tmp_path / "archive") as archive:
        assert archive.append([part.batch]).stored == 0


def test_a_leveldb_with_compressed_tables_and_a_log(tmp_path: Path) -> None:
    """LevelDB 1.22 made it: 250 envelopes in tables of Snappy blocks, 50 in the log alone."""
    path = shutil.copytree(LEVELDB, tmp_path / "waku")
    parts = read(partial(open_leveldb, path))
    assert len(envelopes(parts)) == 300
    assert not any(part.malformed or part.misplaced for part in parts)
    tables = sum(table.stat().st_size for table in LEVELDB.glob("*.ldb"))
    (log,) = LEVELDB.glob("*.log")
    assert sum(part.done for part in parts) - log.stat().st_size > 3 * tables


def test_progress_of_a_leveldb(plyvel: Any, fill_leveldb: Fill) -> None:
    rows = list(map(row, some(300, size=5000)))
    open_source = fill_leveldb(rows)
    with open_source() as source:
        done = sum(part.done for part in source.parts)
        assert source.unit == "B"
        assert done == sum(len(name) + len(value) for name, value in rows)
        assert source.total == pytest.approx(done, rel=0.1)
    with open_source(after=rows[150][0]) as source:
        assert source.total == pytest.approx(done / 2, rel=0.2)


@pytest.mark.parametrize("missing", ["directory", "database"])
def test_a_directory_that_is_no_leveldb_stays_as_it_is(tmp_path: Path, missing: str) -> None:
    path = tmp_path / "waku"
    if missing == "database":
        path.mkdir()
        (path / "nodekey").write_text("")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StatusGoError, match="is no LevelDB"), open_leveldb(path):
        pass
    assert sorted(tmp_path.rglob("*")) == before


def test_a_leveldb_that_status_go_uses(fill_leveldb: Fill, tmp_path: Path) -> None:
    open_source = fill_leveldb([])
    with (tmp_path / "waku" / "LOCK").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as goleveldb does
        with pytest.raises(StatusGoError, match="in use: stop status-go"), open_source():
            pass
    assert read(open_source) == []


def test_status_go_cannot_use_a_leveldb_that_we_read(fill_leveldb: Fill, tmp_path: Path) -> None:
    lock = tmp_path / "waku" / "LOCK"
    with fill_leveldb([])(), lock.open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_leveldb_that_another_program_uses(
    plyvel: Any, fill_leveldb: Fill, tmp_path: Path
) -> None:
    open_source = fill_leveldb([])
    with (
        contextlib.closing(plyvel.DB(str(tmp_path / "waku"))),
        pytest.raises(StatusGoError, match="LOCK: already held"),
        open_source(),
    ):
        pass


def test_a_leveldb_without_its_manifest(fill_leveldb: Fill, tmp_path: Path) -> None:
    open_source = fill_leveldb([])
    (tmp_path / "waku" / "CURRENT").write_text("MANIFEST-999999\n")
    with pytest.raises(StatusGoError, match="LevelDB cannot read"), open_source():
        pass


def test_a_leveldb_with_a_damaged_table(plyvel: Any, fill_leveldb: Fill, tmp_path: Path) -> None:
    open_source = fill_leveldb(map(row, some(300, size=5000)))
    read(open_source)  # LevelDB has moved its log into tables
    for table in (tmp_path / "waku").glob("*.ldb"):
        content = table.read_bytes()
        table.write_bytes(content[:-1000] + b"\xff" * 900 + content[-100:])
    with pytest.raises(StatusGoError, match="LevelDB cannot read"):
        read(open_source)


def test_progress_of_postgres(fill_postgres: Fill, schema: str) -> None:
    made = some(1000, size=10)
    open_source = fill_postgres(map(row, made))
    with psycopg.connect(schema) as connection:
        connection.execute("ANALYZE envelopes")
    with open_source() as source:
        assert source.unit == "row"
        assert source.total == pytest.approx(1000, rel=0.1)
        assert sum(part.done for part in source.parts) == 1000
    with open_source(after=key(made[750])) as source:
        assert source.total == pytest.approx(250, rel=0.2)


def test_postgres_sends_some_rows_at_a_time(fill_postgres: Fill, schema: str) -> None:
    open_source = fill_postgres(map(row, some(300, size=20_000)))
    with open_source() as source, psycopg.connect(schema) as other:
        next(source.parts)
        [(query,)] = other.execute(f"SELECT query {READERS}")
        assert query.startswith(f"FETCH FORWARD {FETCH_ROWS} ")


@pytest.mark.usefixtures("small_parts")
def test_postgres_that_goes_away(fill_postgres: Fill, schema: str) -> None:
    open_source = fill_postgres(map(row, some(300, size=20_000)))

    def read_while_it_goes() -> None:
        with open_source() as source, psycopg.connect(schema) as other:
            next(source.parts)
            other.execute(f"SELECT pg_terminate_backend(pid) {READERS}")
            list(source.parts)

    with pytest.raises(StatusGoError, match="PostgreSQL: terminating connection"):
        read_while_it_goes()


def test_postgres_without_the_table(schema: str) -> None:
    with pytest.raises(StatusGoError, match="has no table envelopes"), open_postgres(schema):
        pass


def test_postgres_with_another_table(schema: str) -> None:
    with psycopg.connect(schema) as connection:
        connection.execute("CREATE TABLE envelopes (id bytea, data text)")
    with pytest.raises(StatusGoError, match=r"PostgreSQL: .*text"), open_postgres(schema):
        pass


def test_postgres_is_only_read(schema: str) -> None:
    with psycopg.connect(schema) as connection:
        connection.execute("CREATE SEQUENCE read")
        connection.execute(
            "CREATE VIEW envelopes AS SELECT nextval('read')::text::bytea AS id, ''::bytea AS data"
        )
    with pytest.raises(StatusGoError, match="read-only transaction"):
        read(partial(open_postgres, schema))


def test_postgres_that_hides_rows(fill_postgres: Fill, schema: str) -> None:
    """Row-level security leaves rows out without an error, unless it is told to raise one."""
    fill_postgres(map(row, some(20)))
    role = f"reader_{next(roles)}"
    with psycopg.connect(schema) as connection:
        [(where,)] = connection.execute("SELECT current_schema()")
        for command in (
            f"CREATE ROLE {role} LOGIN",
            f"GRANT USAGE ON SCHEMA {where} TO {role}",
            f"GRANT SELECT ON envelopes TO {role}",
            "ALTER TABLE envelopes ENABLE ROW LEVEL SECURITY",
        ):
            connection.execute(command)
    with pytest.raises(StatusGoError, match="row-level security"):
        read(partial(open_postgres, schema.replace("test@", f"{role}@")))
    assert len(envelopes(read(partial(open_postgres, schema)))) == 20


def test_an_empty_key_is_counted(fill: Fill) -> None:
    made = some(3)
    (part,) = read(fill([*map(row, made), (b"", made[0].rlp)]))
    assert list(part.batch) == made
    assert (part.malformed, part.misplaced) == (0, 1)


def test_rows_of_postgres_without_a_key_or_a_value(schema: str) -> None:
    """status-go makes its table so that there are none; a copy of it may be made otherwise."""
    made = some(5)
    with psycopg.connect(schema) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE envelopes (id bytea, data bytea)")
        rows = [*map(row, made), (None, made[0].rlp), (None, None), (b"a", None)]
        cursor.executemany("INSERT INTO envelopes VALUES (%b, %b)", rows)
    for after, left in ((b"", made), (key(made[2]), made[3:])):
        with open_postgres(schema, after=after) as source:
            parts = list(source.parts)
        assert envelopes(parts) == left
        assert sum(part.malformed for part in parts) == 1
        assert source.unread == ["the id is NULL in 2 rows"]


@pytest.mark.parametrize("uri", ["postgresql:///?host=/nowhere", "nonsense"])
def test_postgres_that_is_not_there(uri: str) -> None:
    with pytest.raises(StatusGoError, match="PostgreSQL: "), open_postgres(uri):
        pass


PLYVEL = '"plyvel>=1.5"' if sys.version_info < (3, 13) else '"plyvel-next>=2.1"'


@pytest.mark.parametrize(
    ("packages", "named", "opening"),
    [
        (("plyvel", "plyvel_next"), PLYVEL, partial(open_leveldb, Path("anywhere"))),
        (("psycopg",), '"psycopg[binary]>=3.1"', partial(open_postgres, "postgresql://")),
    ],
)
def test_a_package_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, packages: tuple[str, ...], named: str, opening: Open
) -> None:
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(StatusGoError, match=re.escape(f"pip install {named}")), opening():
        pass
