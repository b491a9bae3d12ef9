"""`wakumail archive backup` and `restore`: an archive, and with it the identity of its node."""

import argparse
import os
import sys
from pathlib import Path

from wakumail.archive.archive import Archive
from wakumail.archive.backup import Backup
from wakumail.archive.datadir import Datadir
from wakumail.archive.independent import Opinion
from wakumail.base.regular_file import read_regular
from wakumail.base.text import counted, utc
from wakumail.base.whole_file import replace_file
from wakumail.cli.config import add_flags, load_settings
from wakumail.cli.options import Subparsers, add_datadir, parse_path, progress
from wakumail.cli.passes import copy, walk_rows
from wakumail.devp2p.keys import PrivateKey, node_id, parse_node_key
from wakumail.errors import ArchiveDamaged, ArchiveError
from wakumail.node.node_key import load_node_key
from wakumail.ops.config.settings import SETTINGS, Settings
from wakumail.ops.identity import Identity

PLACE = tuple(setting for setting in SETTINGS if setting.field == "datadir")
"""The setting that tells what to back up; `--config` comes with it."""

MAX_UPDATES = 3
"""Updates of a backup, while envelopes are pruned meanwhile, before a new copy is made."""


def add_backup(actions: Subparsers) -> None:
    """Add `archive backup`."""
    explanation = "copy the archive, later only what has changed; a server may keep running"
    parser = actions.add_parser("backup", help=explanation, description=explanation)
    add_flags(parser, PLACE)
    parser.add_argument(
        "--identity",
        action="store_true",
        help="take along what others know the node by: key, record, lists of nodes, settings",
    )
    parser.add_argument(
        "to",
        type=parse_path,
        metavar="TO",
        help="directory of the backup, a new or a former one",
    )
    parser.set_defaults(run=backup)


def backup(arguments: argparse.Namespace) -> int:
    """Bring the backup up to date, or make a new copy."""
    loaded = load_settings(arguments)
    original = Datadir(loaded.settings.datadir)
    key = existing_key(loaded.settings, original)
    if arguments.identity and key is None:
        raise ValueError(f"{original.path} has no node key yet: there is no identity to take along")
    to = Backup(arguments.to)
    with Archive(original.archive, readonly=True):
        pass  # before TO is made
    gaps = read_regular(original.gaps) if original.gaps.exists() else None
    with to.updating("" if key is None else node_id(key.public_key).hex()):
        if not (to.datadir.holds_archive and update(to, original)):
            with to.datadir.scratch() as scratch:
                copy(original.archive, scratch)
                if to.datadir.holds_archive:
                    # The former backup may have what a damaged original lacks.
                    require_sound(str(original.path), scratch, "the former backup is left as it is")
                to.replace(scratch)
        if gaps is not None:  # as they were before: what came later is no gap
            replace_file(to.datadir.gaps, gaps)
        if arguments.identity:
            assert key is not None
            Identity(to.identity).save(loaded, original, key)
    return 0


def update(to: Backup, original: Datadir) -> bool:
    """Bring a copy up to date; False if it has to be made anew."""
    copied = 0
    with Archive(original.archive, readonly=True) as archive, progress("envelope") as bar:

        def advance(count: int) -> None:
            nonlocal copied
            copied += count
            bar.update(count)

        try:
            equal = any(to.update(archive, advance) for _ in range(MAX_UPDATES))
        except ArchiveDamaged as error:  # if it is the original, it cannot be copied either
            print(f"wakumail archive: {error}", file=sys.stderr)
            equal = False
        held = counted(archive.stat().envelopes, "envelope")
    if equal:
        print(f"{counted(copied, 'envelope')} copied; the archive has {held}")
    else:
        print("wakumail archive: the backup is made anew", file=sys.stderr)
    return equal


def require_sound(source: str, made: Path, outcome: str) -> Opinion:
    """Verify what was made of `source`; ArchiveDamaged, which tells the outcome, for damage."""
    opinion = walk_rows(made)
    for problem in opinion.problems:
        print(problem)
    if opinion.count:
        text = f"{source} is damaged: {counted(opinion.count, 'problem')}"
        raise ArchiveDamaged(f"{text}; {outcome}")
    return opinion


def existing_key(settings: Settings, datadir: Datadir) -> PrivateKey | None:
    """The node key that `wakumail serve` would use, None if it would make one."""
    if settings.nodekeyhex is not None:
        return parse_node_key(settings.nodekeyhex)
    path = settings.nodekey or datadir.nodekey
    return load_node_key(path) if path.exists() else None


def add_restore(actions: Subparsers) -> None:
    """Add `archive restore`."""
    explanation = "make a data directory of a backup, and check it"
    parser = actions.add_parser("restore", help=explanation, description=explanation)
    parser.add_argument("backup", type=parse_path, metavar="FROM", help="directory of the backup")
    add_datadir(parser)
    parser.add_argument(
        "--new-identity",
        action="store_true",
        help="leave the identity in the backup: the server makes a new node key",
    )
    parser.set_defaults(run=restore)


def restore(arguments: argparse.Namespace) -> int:
    """Copy the archive, verify the copy, and put it in place with the identity."""
    datadir: Datadir = arguments.datadir
    source = Backup(arguments.backup)
    source.read_note()
    identity = Identity(source.identity)
    if not source.taken or not source.datadir.holds_archive:
        raise ArchiveError(f"{arguments.backup} has no complete backup yet")
    datadir.make()
    with datadir.alone(), datadir.scratch() as scratch:
        if datadir.holds_archive:
            raise FileExistsError(f"{datadir.path} has an archive already: name a new directory")
        copy(source.datadir.archive, scratch)
        opinion = require_sound(arguments.backup, scratch, "nothing is restored")
        start = f"--datadir {datadir.path}"
        if identity.saved and not arguments.new_identity:
            start = f"--config {identity.restore(datadir)}"
        if source.datadir.gaps.exists():
            replace_file(datadir.gaps, read_regular(source.datadir.gaps))
        datadir.replace_archive(scratch)
    print(
        f"{counted(opinion.envelopes, 'envelope')} verified; the backup is of {utc(source.taken)}"
    )
    if os.geteuid() == 0 and datadir.path.stat().st_uid == 0:
        print(f"it belongs to root; for another user: chown -R USER: {datadir.path}")
    print(f"start it with: wakumail serve {start}")
    return 0
