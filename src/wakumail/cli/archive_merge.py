"""`wakumail archive merge`: the envelopes of several archives in one."""

import argparse
from contextlib import ExitStack
from pathlib import Path

from wakumail.archive.archive import Archive
from wakumail.archive.datadir import Datadir
from wakumail.archive.stored_envelopes import parse_stored
from wakumail.base.text import counted
from wakumail.cli.options import Subparsers, add_datadir, add_json, print_json, progress
from wakumail.cli.transfer import arrivals
from wakumail.errors import ArchiveDamaged


def add_merge(actions: Subparsers) -> None:
    """Add `archive merge`."""
    explanation = "add the envelopes of other archives; those already there are left as they are"
    parser = actions.add_parser("merge", help=explanation, description=explanation)
    parser.add_argument(
        "sources",
        type=lambda text: Datadir(Path(text)),
        nargs="+",
        metavar="FROM",
        help="a data directory; it is only read, and its server may run",
    )
    add_datadir(parser)
    add_json(parser)
    parser.set_defaults(run=merge)


def merge(arguments: argparse.Namespace) -> int:
    """Append the envelopes of each source, in the order in which they came there."""
    told = []
    with ExitStack() as opened:
        sources = [
            (source, opened.enter_context(Archive(source.archive, readonly=True)))
            for source in arguments.sources
        ]
        arguments.datadir.make()
        opened.enter_context(arguments.datadir.writing())
        target = opened.enter_context(Archive(arguments.datadir.archive))
        bar = opened.enter_context(progress("B", sum(each.stat().bytes for _, each in sources)))
        for source, archive in sources:
            stored = duplicates = 0
            for envelopes, _ in arrivals(archive, b""):
                try:
                    parsed = parse_stored(envelopes)
                except ArchiveDamaged as error:
                    raise ArchiveDamaged(f"{source.path}: {error}") from None
                appended = target.append([parsed])
                stored += appended.stored
                duplicates += appended.duplicates
                bar.update(len(envelopes))
            told.append({"from": str(source.path), "stored": stored, "duplicates": duplicates})
            if not arguments.json:
                count = counted(stored, "envelope")
                print(f"{source.path}: {count} stored, {duplicates:,} already there", flush=True)
    if arguments.json:
        print_json({"sources": told})
    return 0
