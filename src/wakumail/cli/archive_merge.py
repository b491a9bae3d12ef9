"""`wakumail archive merge`: the envelopes of several archives in one."""

import argparse
import sys
from contextlib import ExitStack

from wakumail.archive.archive import Archive
from wakumail.archive.arrivals import Damage, arrivals
from wakumail.archive.datadir import Datadir
from wakumail.base.text import counted
from wakumail.cli.options import (
    Subparsers,
    add_datadir,
    add_json,
    option,
    print_json,
    progress,
)
from wakumail.cli.time_to_come import tell_time_to_come
from wakumail.ops.config.values import path


def add_merge(actions: Subparsers) -> None:
    """Add `archive merge`."""
    explanation = "add the envelopes of other archives; those already there are left as they are"
    parser = actions.add_parser("merge", help=explanation, description=explanation)
    parser.add_argument(
        "sources",
        type=option(lambda text: Datadir(path(text))),
        nargs="+",
        metavar="FROM",
        help="a data directory; it is only read, and its server may run",
    )
    add_datadir(parser)
    add_json(parser)
    parser.set_defaults(run=merge)


def merge(arguments: argparse.Namespace) -> int:
    """Append the envelopes of each source, in the order of arrival; 1 if any is damaged."""
    told = []
    damaged = False
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
            damage = Damage()
            for run in arrivals(archive, 0, damage):
                appended = target.append([run.batch])
                stored += appended.stored
                duplicates += appended.duplicates
                bar.update(len(run.batch.raw))
            told.append(
                {
                    "from": str(source.path),
                    "stored": stored,
                    "duplicates": duplicates,
                    "damaged": damage.left_out,
                }
            )
            if damage:
                damaged = True
                print(f"wakumail archive: {source.path}: {damage}", file=sys.stderr)
            if not arguments.json:
                count = counted(stored, "envelope")
                print(f"{source.path}: {count} stored, {duplicates:,} already there", flush=True)
        tell_time_to_come(target)
    if arguments.json:
        print_json({"sources": told})
    return 1 if damaged else 0
