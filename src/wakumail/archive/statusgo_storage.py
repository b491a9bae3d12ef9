"""Reads the storage of a status-go mailserver, so that it can be imported.

Each row of its LevelDB, and of the table `envelopes` of its PostgreSQL, is a key and a value:

    key     4 bytes     creation time, Unix seconds, big-endian
            32 bytes    hash, the Keccak-256 of the value
            4 bytes     topic; missing in rows of an older server (geth's wnode)
    value               the envelope's RLP

Rows come in the order of their keys, so the last key that was read is the position to go on after.
The beginning of a key is a position too: four bytes of time leave out all older rows. A row that is
no envelope, or not the envelope that its key names, is counted and left out; the import goes on.
"""

import contextlib
import fcntl
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from wakumail.archive import leveldb_files
from wakumail.archive.dump import SOURCE_PART_SIZE, Source, SourcePart, Unit
from wakumail.base.text import counted
from wakumail.errors import ArchiveError, RlpError
from wakumail.waku.envelope import MAX_STREAM_ENVELOPE, Envelope, parse_stream

FETCH_ROWS = 64
"""Rows that PostgreSQL sends at a time. They take 64 MiB if all envelopes are as large as status-go
accepts by default. Rows of the usual 1 KiB cost little more than with longer fetches."""

TIME_SIZE = 4
TOPICLESS_KEY_SIZE = 36
ABOVE_ALL_KEYS = b"\xff" * 41

Row = tuple[bytes, bytes]

SELECT = """
    SELECT id, CASE WHEN octet_length(data) <= %(most)s THEN data ELSE ''::bytea END
    FROM envelopes WHERE id {} %(after)s ORDER BY id
"""
COUNT_KEYLESS = "SELECT count(*) FROM envelopes WHERE id IS NULL"


class StatusGoError(ArchiveError):
    """The storage of status-go cannot be read. The text says why, and what to do."""


@contextlib.contextmanager
def open_leveldb(path: Path, *, after: bytes = b"") -> Iterator[Source]:
    """The rows behind `after` of the LevelDB in the directory `path`.

    StatusGoError if plyvel is missing, if the directory is no LevelDB or in use, and while reading
    if it is damaged: every checksum is verified. Cut files that LevelDB itself accepts are told in
    Source.unread. We write nothing into it, but LevelDB does: when it opens it moves its log
    into tables and deletes old files. To avoid that, give a copy of the directory that was made
    while status-go did not run.
    """
    plyvel = _plyvel()
    # Even with create_if_missing=False LevelDB makes a directory, a log and a lock.
    if not (path / "CURRENT").is_file():
        raise StatusGoError(f"{path} is no LevelDB: it has no file CURRENT")
    for each in path.iterdir():
        if each.exists() and not (each.is_file() or each.is_dir()):
            raise StatusGoError(f"{each} is not a regular file")
    try:
        with _unused(path):
            lost = leveldb_files.unread(
                path
            )  # When LevelDB opens, it deletes the files that show it.
            options = {"create_if_missing": False, "paranoid_checks": True}
            with contextlib.closing(plyvel.DB(str(path), **options)) as database:
                total = database.approximate_size(after, ABOVE_ALL_KEYS)
                rows = database.iterator(
                    start=after or None,
                    include_start=False,
                    fill_cache=False,
                    verify_checksums=True,
                )
                yield Source(_parts(rows, "B"), "B", total, lost)
    except plyvel.Error as error:
        reason = error.args[0].decode(errors="replace")
        raise StatusGoError(f"LevelDB cannot read {path}: {reason}") from error


def _plyvel() -> Any:
    """The package that binds LevelDB; StatusGoError if there is none."""
    for name in ("plyvel", "plyvel_next"):
        with contextlib.suppress(ImportError):
            return import_module(name)
    package = '"plyvel>=1.5"' if sys.version_info < (3, 13) else '"plyvel-next>=2.1"'
    raise StatusGoError(f"reading a LevelDB needs plyvel: pip install {package}")


@contextlib.contextmanager
def _unused(path: Path) -> Iterator[None]:
    """Hold the flock of status-go's LevelDB; our LevelDB uses fcntl locks, which do not see it.

    StatusGoError if status-go holds it. Closing a file drops its fcntl locks: enter this first.
    """
    with (path / "LOCK").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StatusGoError(f"{path} is in use: stop status-go first") from None
        yield


@contextlib.contextmanager
def open_postgres(uri: str, *, after: bytes = b"") -> Iterator[Source]:
    """The rows behind `after` of the table `envelopes` in the database at `uri`.

    One read-only transaction reads them all as they are at its start; status-go may run meanwhile.
    StatusGoError if psycopg is missing, if there is no such database or table, if the table hides
    rows from us, and for every other error of PostgreSQL, also while reading.
    """
    try:
        import psycopg
    except ImportError as error:
        text = f'reading PostgreSQL needs psycopg: pip install "psycopg[binary]>=3.1" ({error})'
        raise StatusGoError(text) from error
    query = SELECT.format(">" if after else ">=")  # the first key may be empty
    parameters = {"after": after, "most": MAX_STREAM_ENVELOPE}
    try:
        with psycopg.connect(uri) as connection, connection.cursor("wakumail", binary=True) as rows:
            connection.read_only = True
            # Row-level security leaves rows out without a word, unless this makes it an error.
            connection.execute("SET LOCAL row_security = off")
            # Choose the plan that finds its first row soonest: the index, not a sort of all rows.
            connection.execute("SET LOCAL cursor_tuple_fraction = 0")
            [(plans,)] = connection.execute(f"EXPLAIN (FORMAT JSON) {query}", parameters)
            [(keyless,)] = connection.execute(COUNT_KEYLESS)
            unread = [f"the id is NULL in {counted(keyless, 'row')}"] if keyless else []
            rows.itersize = FETCH_ROWS
            rows.execute(query, parameters)
            yield Source(_parts(rows, "row"), "row", plans[0]["Plan"]["Plan Rows"], unread)
    except psycopg.errors.UndefinedTable as error:
        text = "the database has no table envelopes: it is not that of a status-go mailserver"
        raise StatusGoError(text) from error
    except psycopg.Error as error:
        reason = error.diag.message_primary or str(error).strip()
        raise StatusGoError(f"PostgreSQL: {reason}") from error


def _parts(rows: Iterable[Row], unit: Unit) -> Iterator[SourcePart]:
    """The rows in parts; those before a failure come before its error."""
    held: list[Row] = []
    size = 0
    try:
        for key, value in rows:
            held.append((key, value if len(value) <= MAX_STREAM_ENVELOPE else b""))
            size += len(key) + len(value)
            if size >= SOURCE_PART_SIZE:
                yield _part(held, size if unit == "B" else len(held))
                held, size = [], 0
    except Exception:
        if held:
            yield _part(held, size if unit == "B" else len(held))
        raise
    if held:
        yield _part(held, size if unit == "B" else len(held))


def _part(rows: Sequence[Row], done: int) -> SourcePart:
    """Parse the rows at once if all are sound, else one by one."""
    with contextlib.suppress(RlpError):
        batch, _ = parse_stream(b"".join(value for _, value in rows), final=True)
        if len(batch) == len(rows) and all(map(_belongs, rows, batch)):
            return SourcePart(batch, rows[-1][0], 0, 0, done)
    return _sifted(rows, done)


def _sifted(rows: Sequence[Row], done: int) -> SourcePart:
    kept: list[bytes] = []
    malformed = misplaced = 0
    for key, value in rows:
        try:
            envelope = Envelope.decode(value)
        except RlpError:
            malformed += 1
            continue
        if _belongs((key, value), envelope):
            kept.append(value)
        else:
            misplaced += 1
    batch, _ = parse_stream(b"".join(kept), final=True)
    return SourcePart(batch, rows[-1][0], malformed, misplaced, done)


def _belongs(row: Row, envelope: Envelope) -> bool:
    """True if the row holds that envelope and has its key."""
    key, value = row
    own = envelope.created.to_bytes(TIME_SIZE, "big") + envelope.hash + envelope.topic
    return value == envelope.rlp and key in (own, own[:TOPICLESS_KEY_SIZE])
