"""`wakumail archive`: inspect, check, fill, merge, export, prune and copy an archive."""

import argparse
import math
import time

from wakumail.archive.archive import Archive, Day
from wakumail.archive.datadir import Datadir
from wakumail.archive.independent import Opinion
from wakumail.archive.outlook import look_at
from wakumail.archive.page_check import check_pages
from wakumail.archive.retention import (
    AFTER_ALL,
    frees_at_end,
    pause_after,
    slice_limit,
)
from wakumail.base.text import counted, in_bytes, utc
from wakumail.cli import archive_backup, archive_merge, transfer
from wakumail.cli.config import add_flags, load_settings
from wakumail.cli.options import (
    TIME_FORMS,
    Subparsers,
    add_datadir,
    add_json,
    option,
    parse_time,
    print_json,
    progress,
)
from wakumail.cli.passes import copy, walk_independently, walk_rows
from wakumail.errors import ArchiveError
from wakumail.ops.config.settings import SETTINGS
from wakumail.ops.config.values import whole

PRUNE_STEP = 2000
"""Envelopes that a prune deletes in one commit, where it is not a whole day."""

BOUNDS = ("retention", "max_size")
"""The settings that tell what will be deleted."""

MUCH_FREE = 0.1
"""The part of the file that may be free before `stat` tells how to make it smaller."""

PLOT_WIDTH = 50
"""Columns of the longest bar of the plot of days."""


def set_up(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of this command what it takes."""
    parser.description = __doc__
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add_stat(actions)
    transfer.add_import(actions)
    transfer.add_export(actions)
    archive_merge.add_merge(actions)
    add_prune(actions)
    add_verify(actions)
    archive_backup.add_backup(actions)
    archive_backup.add_restore(actions)
    add_compact(actions)


def add_stat(actions: Subparsers) -> None:
    """Add `archive stat`."""
    explanation = "print counts, sizes, times and the outlook, with a plot of the days"
    parser = actions.add_parser(
        "stat",
        help=explanation,
        description=f"{explanation}. The settings are those of the server: they tell what will be"
        " deleted.",
    )
    add_flags(parser, [each for each in SETTINGS if each.field in ("datadir", *BOUNDS)])
    add_json(parser)
    parser.set_defaults(run=stat)


def stat(arguments: argparse.Namespace) -> int:
    """Print counts, sizes, times, and when the disk will be full."""
    settings = load_settings(arguments).settings
    now = time.time()
    with Archive(Datadir(settings.datadir).archive, readonly=True) as archive:
        look = look_at(archive, settings.bounds, now)
    result, days, outlook = look
    full = look.when_full(now)
    if arguments.json:
        seconds = outlook.full_in if outlook.full_in != math.inf else None
        told = outlook._asdict() | {"full": full, "full_in": seconds}
        print_json(result._asdict() | told | {"days": [day._asdict() for day in days]})
        return 0
    print(f"envelopes   {result.envelopes:,}")
    print(f"bytes       {result.bytes:,}")
    print(f"file        {outlook.size:,}: {result.file_bytes:,} in use, {result.free_bytes:,} free")
    print(f"disk        {outlook.disk_free:,} free")
    growth = outlook.daily_growth
    print(f"growth      {'not known' if growth is None else f'{growth:,.0f} a day'}")
    print(f"full        {full}")
    print(f"bounds      --retention {settings.retention:g} --max-size {settings.max_size}")
    for name, created in (("oldest", result.oldest), ("newest", result.newest)):
        print(f"{name:<12}{'-' if created is None else utc(created)}")
    print(f"pruned      {f'before {utc(result.pruned)}' if result.pruned else '-'}")
    print(f"sorted      {sum(day.envelopes - day.unsorted for day in days):,} by topic")
    print(f"sums        {counted(result.sums, 'minute')}")
    print(f"topics      {max((day.topics for day in days), default=0):,} on the day with the most")
    for line in plot(days):
        print(line)
    if result.free_bytes > MUCH_FREE * outlook.size:
        print(shrinking(result.free_bytes))
    return 0


def plot(days: list[Day]) -> list[str]:
    """A line for each day, with a bar in proportion to its envelopes."""
    most = max((day.envelopes for day in days), default=0)
    return [
        f"{time.strftime('%Y-%m-%d', time.gmtime(day.start))} {day.envelopes:>12,} "
        + "█" * max(1, round(PLOT_WIDTH * day.envelopes / most))
        for day in days
        if day.envelopes
    ]


def add_prune(actions: Subparsers) -> None:
    """Add `archive prune`."""
    explanation = "delete the oldest envelopes; new ones reuse their space"
    parser = actions.add_parser("prune", help=explanation, description=explanation)
    add_datadir(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--before",
        type=parse_time,
        metavar="TIME",
        help=f"those created before: {TIME_FORMS}",
    )
    what.add_argument(
        "--max-size", type=option(whole(1)), metavar="BYTES", help="until the archive is no larger"
    )
    add_json(parser)
    parser.set_defaults(run=prune)


def prune(arguments: argparse.Namespace) -> int:
    """Prune a slice at a time; a server may run."""
    envelopes = 0
    arguments.datadir.require_archive()
    with (
        arguments.datadir.writing(),
        Archive(arguments.datadir.archive) as archive,
        progress("envelope") as bar,
    ):
        before = AFTER_ALL if arguments.before is None else arguments.before
        more = True
        while more and (
            arguments.max_size is None or archive.stat().file_bytes > arguments.max_size
        ):
            limit, days = PRUNE_STEP, archive.days()
            if arguments.max_size is None or frees_at_end(days):
                limit = slice_limit(days, before, limit)
            begun = time.monotonic()
            pruned = archive.prune(before, limit=limit)
            time.sleep(pause_after(pruned, time.monotonic() - begun))
            envelopes, more = envelopes + pruned.envelopes, pruned.more
            bar.update(pruned.envelopes)
        free = archive.stat().free_bytes
    if arguments.json:
        print_json({"pruned": envelopes})
    else:
        print(f"{counted(envelopes, 'envelope')} pruned; {shrinking(free)}")
    return 0


def shrinking(free_bytes: int) -> str:
    """The way to make the file smaller by its free pages. LMDB cannot, while it is in use."""
    return (
        f"{in_bytes(free_bytes)} of the file are free for new ones. To give them back to the disk,"
        " stop the server and run `wakumail archive compact`"
    )


def add_verify(actions: Subparsers) -> None:
    """Add `archive verify`."""
    explanation = "check every envelope, its hash, and that the indexes agree with the data"
    parser = actions.add_parser("verify", help=explanation, description=explanation)
    add_datadir(parser)
    parser.add_argument(
        "--pages",
        action="store_true",
        help="also check the pages of the file; needs the lmdb package, and no server may run",
    )
    parser.add_argument(
        "--independent",
        action="store_true",
        help="let a program check it that shares no code with the server; needs the packages lmdb, "
        "rlp and eth-hash",
    )
    add_json(parser)
    parser.set_defaults(run=verify)


def verify(arguments: argparse.Namespace) -> int:
    """Check everything; 1 if anything is wrong."""
    count = 0
    problems: list[str] = []
    arguments.datadir.require_archive()
    if arguments.pages:
        with arguments.datadir.alone():
            count, problems = check_pages(arguments.datadir.archive)
    if not arguments.json:
        for problem in problems:
            print(problem, flush=True)
    walk = walk_independently if arguments.independent else walk_rows
    try:
        opinion = walk(arguments.datadir.archive)
    except ArchiveError as error:
        if not count:
            raise
        opinion = Opinion(0, 1, [str(error)])  # of pages that are damaged no surprise
    count += opinion.count
    problems += opinion.problems
    if arguments.json:
        print_json({"envelopes": opinion.envelopes, "count": count, "problems": problems})
    else:
        for problem in opinion.problems:
            print(problem)
        envelopes = counted(opinion.envelopes, "envelope")
        print(f"{envelopes} verified, {counted(count, 'problem')}")
    return 1 if count else 0


def add_compact(actions: Subparsers) -> None:
    """Add `archive compact`."""
    explanation = "return the space of pruned envelopes to the disk; no server may run"
    parser = actions.add_parser("compact", help=explanation, description=explanation)
    add_datadir(parser)
    parser.set_defaults(run=compact)


def compact(arguments: argparse.Namespace) -> int:
    """Copy the archive, and put the copy in its place once it is on disk."""
    arguments.datadir.require_archive()
    with arguments.datadir.alone(), arguments.datadir.scratch() as scratch:
        copy(arguments.datadir.archive, scratch)
        arguments.datadir.replace_archive(scratch)
    return 0
