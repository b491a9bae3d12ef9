"""The `wakumail` command.

Results go to stdout (one JSON object with --json), everything else to stderr. Exit codes: 0 done,
1 failed, 2 wrong usage.
"""

import argparse
import sys
from collections.abc import Sequence

from wakumail.cli import archive, attach, canary, config, key, logs, post, request, serve
from wakumail.errors import WakumailError
from wakumail.version import VERSION

COMMANDS = (serve, attach, config, request, post, canary, archive, key)


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; each command adds its own."""
    top = argparse.ArgumentParser(
        prog="wakumail", description="A Waku v1 node, mailserver and client."
    )
    top.add_argument("--version", action="version", version=f"wakumail {VERSION}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; answers its exit code."""
    arguments = parser().parse_args(argv)
    logs.start()
    try:
        return int(arguments.run(arguments))
    except (WakumailError, OSError, ValueError) as error:
        reason = str(error) or type(error).__name__
        print(f"wakumail {arguments.command}: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
