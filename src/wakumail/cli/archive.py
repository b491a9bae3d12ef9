"""`wakumail archive`: look into an archive, fill it, empty it into a dump."""

import argparse
import time
from pathlib import Path

from wakumail.archive import Archive
from wakumail.cli.options import Subparsers, add_json, counted, open_dump, print_json, progress
from wakumail.datadir import Datadir
from wakumail.dump import read_dump

EXPORT_BYTES = 4 << 20
"""Bytes of envelopes that one read transaction of an export copies."""


def add(commands: Subparsers) -> None:
    """Add the command and its actions."""
    parser = commands.add_parser("archive", help="care for an archive", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for function, explanation in (
        (stat, "what is in the archive"),
        (import_, "read envelopes from a dump into the archive"),
        (export, "write the envelopes of the archive to a dump, in order of arrival"),
    ):
        name = function.__name__.rstrip("_")
        action = actions.add_parser(name, help=explanation, description=explanation)
        action.add_argument("--datadir", type=parse_datadir, required=True, metavar="DIR")
        if function is not stat:
            action.add_argument("file", nargs="?", default="-", metavar="FILE", help="- is stdio")
        if function is not export:
            add_json(action)
        action.set_defaults(run=function)


def parse_datadir(text: str) -> Datadir:
    """The data directory at a path."""
    return Datadir(Path(text))


def stat(arguments: argparse.Namespace) -> int:
    """Print counts, sizes and times."""
    with Archive(arguments.datadir.archive, readonly=True) as archive:
        result = archive.stat()
    if arguments.json:
        print_json(result._asdict())
    else:
        print(f"envelopes   {result.envelopes}")
        print(f"bytes       {result.bytes}")
        print(f"on disk     {result.file_bytes}")
        print(f"oldest      {utc(result.oldest)}")
        print(f"newest      {utc(result.newest)}")
    return 0


def import_(arguments: argparse.Namespace) -> int:
    """Append what is in the dump; what is there already stays as it is."""
    stored = duplicates = 0
    arguments.datadir.make()
    with (
        Archive(arguments.datadir.archive) as archive,
        open_dump(arguments.file, "rb") as file,
        progress("envelope") as bar,
    ):
        for batch in read_dump(file):
            appended = archive.append([batch])
            stored += appended.stored
            duplicates += appended.duplicates
            bar.update(len(batch))
    if arguments.json:
        print_json({"stored": stored, "duplicates": duplicates})
    else:
        print(f"{counted(stored, 'envelope')} stored, {duplicates} were there already")
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Write everything."""
    with (
        Archive(arguments.datadir.archive, readonly=True) as archive,
        open_dump(arguments.file, "wb") as file,
        progress("B", archive.stat().bytes) as bar,
    ):
        sequence = 0
        while True:
            envelopes, sequence = archive.follow(sequence, max_bytes=EXPORT_BYTES)
            if not envelopes:
                return 0
            file.write(envelopes)
            bar.update(len(envelopes))


def utc(seconds: int | None) -> str:
    """Unix seconds for a person."""
    if seconds is None:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
