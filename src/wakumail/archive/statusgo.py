"""What status-go's mailserver has stored, read so that it can be imported.

A row of its LevelDB, as of the table `envelopes` of its PostgreSQL, is a key and a value:

    key     4 bytes     creation time, Unix seconds, big-endian
            32 bytes    hash, the Keccak-256 of the value
            4 bytes     topic; not there in rows that an older server (geth's wnode) left
    value               the envelope's RLP

Rows come in the order of their keys, so the last key that was read is a position to go on after.
So is the beginning of a key: four bytes of time leave out what is older. A row that is no
envelope, or not the one that its key names, is counted and left out; it stops nothing.
"""

import contextlib
import fcntl
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from wakumail.archive.dump import IMPORT_CHUNK_SIZE, Chunk, Source, Unit
from wakumail.errors import ArchiveError, RlpError
from wakumail.waku.envelope import MAX_STREAM_ENVELOPE, Envelope, parse_stream

FETCH_ROWS = 64
"""Rows that PostgreSQL sends at a time: 64 MiB where all envelopes are as large as status-go took
them by default, while rows of the common 1 KiB still cost little more than a longer fetch."""

TIME_SIZE = 4
TOPICLESS_KEY_SIZE = 36
ABOVE_ALL_KEYS = b"\xff" * 41

Row = tuple[bytes, bytes]

SELECT = """
    SELECT id, CASE WHEN octet_length(data) <= %(most)s THEN data ELSE ''::bytea END
    FROM envelopes WHERE id > %(after)s ORDER BY id
"""


class StatusGoError(ArchiveError):
    """The storage of status-go cannot be read; the text says why and what to do."""


@contextlib.contextmanager
def open_leveldb(path: Path, *, after: bytes = b"") -> Iterator[Source]:
    """The rows behind `after` of the LevelDB in the directory `path`.

    StatusGoError when plyvel is missing, when the directory is no LevelDB, when it is in use, and
    while reading when it is damaged. We write nothing into it, but LevelDB itself does: it moves
    its log into tables and tidies up when it opens. Who minds gives a copy of the directory, made
    while status-go did not run.
    """
    try:
        import plyvel
    except ImportError as error:
        text = f'reading a LevelDB needs plyvel: pip install "wakumail[leveldb]" ({error})'
        raise StatusGoError(text) from error
    # Asked to create nothing, LevelDB still leaves a directory, a log and a lock behind.
    if not (path / "CURRENT").is_file():
        raise StatusGoError(f"{path} is no LevelDB: it has no file CURRENT")
    try:
        with (
            _unused(path),
            contextlib.closing(plyvel.DB(str(path), create_if_missing=False)) as database,
        ):
            total = database.approximate_size(after, ABOVE_ALL_KEYS)
            rows = database.iterator(start=after or None, include_start=False, fill_cache=False)
            yield Source(_chunks(rows, "B"), "B", total)
    except plyvel.Error as error:
        reason = error.args[0].decode(errors="replace")
        raise StatusGoError(f"LevelDB cannot read {path}: {reason}") from error


@contextlib.contextmanager
def _unused(path: Path) -> Iterator[None]:
    """Hold the lock of status-go's LevelDB: flock, of which the fcntl lock of ours knows nothing.

    StatusGoError when status-go holds it. Closing a file drops its fcntl locks: enter this first.
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

    They are those of one moment, read in one transaction, which may write nothing; status-go may
    run meanwhile. StatusGoError when psycopg is missing, when there is no such database or table,
    and for whatever else PostgreSQL reports, also while reading.
    """
    try:
        import psycopg
    except ImportError as error:
        text = f'reading PostgreSQL needs psycopg: pip install "wakumail[postgres]" ({error})'
        raise StatusGoError(text) from error
    parameters = {"after": after, "most": MAX_STREAM_ENVELOPE}
    try:
        with psycopg.connect(uri) as connection, connection.cursor("wakumail", binary=True) as rows:
            connection.read_only = True
            # Have the plan that finds its first row soonest: the index, not a sort of all rows.
            connection.execute("SET LOCAL cursor_tuple_fraction = 0")
            [(plans,)] = connection.execute(f"EXPLAIN (FORMAT JSON) {SELECT}", parameters)
            rows.itersize = FETCH_ROWS
            rows.execute(SELECT, parameters)
            yield Source(_chunks(rows, "row"), "row", plans[0]["Plan"]["Plan Rows"])
    except psycopg.errors.UndefinedTable as error:
        text = "the database has no table envelopes: it is not that of a status-go mailserver"
        raise StatusGoError(text) from error
    except psycopg.Error as error:
        reason = error.diag.message_primary or error
        raise StatusGoError(f"PostgreSQL: {reason}") from error


def _chunks(rows: Iterable[Row], unit: Unit) -> Iterator[Chunk]:
    held: list[Row] = []
    size = 0
    for key, value in rows:
        held.append((key, value if len(value) <= MAX_STREAM_ENVELOPE else b""))
        size += len(key) + len(value)
        if size >= IMPORT_CHUNK_SIZE:
            yield _chunk(held, size if unit == "B" else len(held))
            held, size = [], 0
    if held:
        yield _chunk(held, size if unit == "B" else len(held))


def _chunk(rows: Sequence[Row], done: int) -> Chunk:
    """The rows at once where all are as they should be, one by one otherwise."""
    with contextlib.suppress(RlpError):
        batch, _ = parse_stream(b"".join(value for _, value in rows), final=True)
        if len(batch) == len(rows) and all(map(_belongs, rows, batch)):
            return Chunk(batch, rows[-1][0], 0, 0, done)
    return _sifted(rows, done)


def _sifted(rows: Sequence[Row], done: int) -> Chunk:
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
    return Chunk(batch, rows[-1][0], malformed, misplaced, done)


def _belongs(row: Row, envelope: Envelope) -> bool:
    """Whether the row holds that envelope and has its key."""
    key, value = row
    own = envelope.created.to_bytes(TIME_SIZE, "big") + envelope.hash + envelope.topic
    return value == envelope.rlp and key in (own, own[:TOPICLESS_KEY_SIZE])
