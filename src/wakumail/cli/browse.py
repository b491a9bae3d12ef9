"""`wakumail browse`: look into an archive with a browser, on this machine."""

import argparse
import asyncio
import sys

from wakumail.archive.archive import Archive
from wakumail.base.main_task import run_main
from wakumail.cli.options import add_datadir, option
from wakumail.devp2p.enode import MAX_PORT
from wakumail.ops.config.values import whole
from wakumail.ops.signals import STOP, set_by


def set_up(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of this command what it takes."""
    parser.description = f"{__doc__} It prints the address to open, until SIGINT or SIGTERM."
    add_datadir(parser)
    parser.add_argument(
        "--port",
        type=option(whole(0, MAX_PORT)),
        default=0,
        metavar="PORT",
        help="TCP port on 127.0.0.1 (default: the system chooses)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve the pages until a signal."""
    with Archive(arguments.datadir.archive, readonly=True) as archive:
        run_main(serve, archive, arguments.port)
    return 0


async def serve(archive: Archive, port: int) -> None:
    """Serve the pages of an archive."""
    from wakumail.ops.browse.archive_reading import ArchiveReading  # aiohttp is slow to import
    from wakumail.ops.browse.browse_site import BrowseSite

    stopped = set_by(asyncio.Event(), *STOP)
    site = BrowseSite(ArchiveReading(archive))
    try:
        print(await site.start(port), flush=True)
        if sys.stdout.isatty():
            print("Ctrl-C ends it", file=sys.stderr)
        await stopped.wait()
    finally:
        await site.close()
