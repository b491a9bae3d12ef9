"""`wakumail archive import` and `export`: streams of envelopes into an archive and out of it."""

import argparse
import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from wakumail.archive.archive import Archive, Page, PageState, Query
from wakumail.archive.arrivals import RUN_BYTES, Damage, arrivals
from wakumail.archive.dump import Source, read_dump
from wakumail.archive.statusgo_storage import open_leveldb, open_postgres
from wakumail.base.rlp import split_list
from wakumail.base.text import counted
from wakumail.cli.json_lines import json_lines
from wakumail.cli.message_keys import add_message_keys, load_message_keys
from wakumail.cli.named_files import open_binary, open_new, start_over
from wakumail.cli.options import (
    TIME_FORMS,
    Subparsers,
    add_datadir,
    add_json,
    add_topics,
    parse_hex,
    parse_time,
    print_json,
    progress,
)
from wakumail.cli.time_to_come import tell_time_to_come
from wakumail.waku.envelope import MAX_TIME
from wakumail.waku.topics import public_chat_topic

EXPORT_ENVELOPES = 50_000
"""Most envelopes that one read transaction of an export copies."""

ARRIVAL_PLACE_SIZE = 8
"""Bytes of a place in the order of arrival, big-endian: what --after takes."""


def add_import(actions: Subparsers) -> None:
    """Add `archive import`."""
    explanation = "read envelopes into the archive; those already there are left as they are"
    parser = actions.add_parser("import", help=explanation, description=explanation)
    add_datadir(parser)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("file", nargs="?", default="-", metavar="FILE", help="a dump; - is stdin")
    source.add_argument(
        "--leveldb", type=Path, metavar="DIR", help="the LevelDB of a status-go mailserver"
    )
    source.add_argument(
        "--postgres", metavar="URI", help="the PostgreSQL database of a status-go mailserver"
    )
    add_after(parser)
    add_json(parser)
    parser.set_defaults(run=import_)


def add_export(actions: Subparsers) -> None:
    """Add `archive export`."""
    explanation = "write envelopes to a dump"
    order = f"{explanation}, in order of arrival; a choice of times or topics oldest first"
    parser = actions.add_parser("export", help=explanation, description=order)
    add_datadir(parser)
    parser.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="a new or empty file; - is stdout"
    )
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")
    parser.add_argument("--from", dest="lower", type=parse_time, metavar="TIME", help=TIME_FORMS)
    parser.add_argument("--to", dest="upper", type=parse_time, metavar="TIME", help=TIME_FORMS)
    add_topics(parser)
    add_message_keys(parser)
    parser.add_argument(
        "--json",
        action="store_true",
        help="a line of JSON for each envelope: all fields, and those of its message if a key is "
        "given",
    )
    add_after(parser)
    parser.set_defaults(run=export, usage_error=parser.error)


def add_after(parser: argparse.ArgumentParser) -> None:
    """Add --after, the place to resume from."""
    parser.add_argument(
        "--after",
        type=parse_hex,
        default=b"",
        metavar="PLACE",
        help="resume at the place that an interrupted run printed",
    )


def import_(arguments: argparse.Namespace) -> int:
    """Append the envelopes of the source; 1 if it is empty, has lost any or one was left out."""
    position = arguments.after
    done = {"stored": 0, "duplicates": 0, "malformed": 0, "misplaced": 0}
    arguments.datadir.make()
    with (
        open_source(arguments) as source,
        arguments.datadir.writing(),
        Archive(arguments.datadir.archive) as archive,
        reporting(done, as_json=arguments.json),
        progress(source.unit, source.total) as bar,
        telling_where(lambda: position),
    ):
        for sentence in source.unread:
            print(f"wakumail archive: not all was read: {sentence}", file=sys.stderr)
        for part in source.parts:
            appended = archive.append([part.batch])
            done["stored"] += appended.stored
            done["duplicates"] += appended.duplicates
            done["malformed"] += part.malformed
            done["misplaced"] += part.misplaced
            position = part.position
            bar.update(part.done)
        tell_time_to_come(archive)
    nothing = position == arguments.after and not any(done.values())
    if nothing and not arguments.after:
        print("wakumail archive: the source is empty", file=sys.stderr)
        return 1  # what was to fill it may have failed
    if nothing:
        print("wakumail archive: nothing is behind the place of --after", file=sys.stderr)
    return 1 if done["malformed"] or done["misplaced"] or source.unread else 0


@contextlib.contextmanager
def reporting(done: Mapping[str, int], *, as_json: bool) -> Iterator[None]:
    """Print the totals at the end, also when the work fails."""
    try:
        yield
    finally:
        if as_json:
            print_json(dict(done))
        else:
            stored = counted(done["stored"], "envelope")
            print(f"{stored} stored, {done['duplicates']:,} already there")
            if done["malformed"] or done["misplaced"]:
                not_envelopes = f"{done['malformed']:,} that are not envelopes"
                print(f"left out: {not_envelopes}, {done['misplaced']:,} under a wrong key")


@contextlib.contextmanager
def open_source(arguments: argparse.Namespace) -> Iterator[Source]:
    """The source of an import."""
    if arguments.leveldb is not None:
        with open_leveldb(arguments.leveldb, after=arguments.after) as source:
            yield source
    elif arguments.postgres is not None:
        with open_postgres(arguments.postgres, after=arguments.after) as source:
            yield source
    else:
        with open_binary(arguments.file, "rb") as file:
            status = os.fstat(file.fileno())
            total = status.st_size if stat.S_ISREG(status.st_mode) else None
            if total is not None and int.from_bytes(arguments.after, "big") > total:
                place = arguments.after.hex()
                name = "stdin" if arguments.file == "-" else arguments.file
                raise ValueError(f"--after {place} is past the end: {name} has {total} bytes")
            yield Source(read_dump(file, after=arguments.after), "B", total)


@contextlib.contextmanager
def telling_where(position: Callable[[], bytes]) -> Iterator[None]:
    """Print the place to resume from on stderr if the work fails."""
    try:
        yield
    except BaseException:
        if place := position():
            print(f"resume with --after {place.hex()}", file=sys.stderr)
        raise


def export(arguments: argparse.Namespace) -> int:
    """Write all envelopes or a choice, as a dump or as lines of JSON; 1 if any is damaged."""
    arguments.topics = [*arguments.topics, *map(public_chat_topic, arguments.chats)]
    keys = load_message_keys(arguments)
    if len(keys) > len(arguments.chats) and not arguments.json:
        arguments.usage_error("keys of messages are for --json; a dump holds sealed envelopes")
    chosen = arguments.topics or arguments.lower is not None or arguments.upper is not None
    position = arguments.after
    count = 0
    damage = Damage()
    with (
        Archive(arguments.datadir.archive, readonly=True) as archive,
        open_new(arguments.file, force=arguments.force) as file,
        progress("B", None if chosen else archive.stat().bytes) as bar,
        telling_where(lambda: position),
    ):
        start_over(arguments.file, file)
        if chosen:
            pieces = select(archive, arguments, damage)
        else:
            pieces = everything(archive, position, damage)
        for envelopes, number, place in pieces:
            file.write(json_lines(envelopes, keys) if arguments.json else envelopes)
            file.flush()  # the rest of a write that was cut short waits in the buffer
            bar.update(len(envelopes))
            count += number
            position = place
    print(f"{counted(count, 'envelope')} exported", file=sys.stderr)
    if damage:
        print(f"wakumail archive: {damage}", file=sys.stderr)
    return 1 if damage else 0


def everything(
    archive: Archive, after: bytes, damage: Damage
) -> Iterator[tuple[bytes, int, bytes]]:
    """All envelopes in the order of arrival, in pieces: envelopes, their number, the place behind.

    ValueError for a place that is none yet.
    """
    sequence = int.from_bytes(after, "big")
    if sequence > (end := archive.stat().next_sequence):
        raise ValueError(f"--after {after.hex()} is past the end: the last place is {end:016x}")
    for run in arrivals(archive, sequence, damage):
        yield run.batch.raw, len(run.batch), run.following.to_bytes(ARRIVAL_PLACE_SIZE, "big")


def select(
    archive: Archive, arguments: argparse.Namespace, damage: Damage
) -> Iterator[tuple[bytes, int, bytes]]:
    """The chosen envelopes, oldest first, in pieces as of `everything`."""
    query = Query(
        arguments.lower or 0,
        MAX_TIME if arguments.upper is None else arguments.upper,
        topics=arguments.topics or None,
        newest_first=False,
    )
    position = arguments.after
    page: Page | None = None
    while page is None or page.state is not PageState.EXHAUSTED:
        job = archive.page_job(
            query, position, limit=EXPORT_ENVELOPES, max_bytes=RUN_BYTES, lenient=True
        )
        page = job.do()
        damage.left_out += job.damaged
        position = page.position
        yield b"".join(split_list(page.packet)), page.count, position
