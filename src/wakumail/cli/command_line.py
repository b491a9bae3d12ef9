"""The command line: its parser, and the run of one command with its exit code."""

import argparse
import gc
import sys
from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn, TextIO

from wakumail.base.colours import has_colours
from wakumail.cli import standard_streams
from wakumail.cli.examples import add_examples
from wakumail.cli.help import HelpFormatter, coloured_help
from wakumail.cli.interruption import interrupt_on_signals
from wakumail.errors import WakumailError, reason
from wakumail.ops import logs
from wakumail.version import VERSION

COMMANDS: Mapping[str, str] = {
    "serve": "run a server",
    "attach": "call the API of a running node",
    "config": "show, check or import settings",
    "request": "ask for history",
    "post": "send envelopes",
    "canary": "check a mailserver",
    "archive": "inspect and maintain an archive",
    "browse": "look into an archive with a browser",
    "sync": "make an archive and that of another server equal",
    "cluster": "make, check or show a cluster of hosts",
    "key": "make or show a node key",
    "dns": "sign and verify lists of nodes for the DNS",
    "bench": "measure a mailserver",
}
"""The commands and their help. Each has a module of its name, imported when it is chosen only."""

UNTIL_STOPPED = ("serve", "browse")
"""Commands that run until a signal: one that comes before they wait for it ends them at once."""


class Parser(argparse.ArgumentParser):
    """Takes no abbreviated options: what is short for one option today fits two tomorrow."""

    def __init__(self, **choices: Any) -> None:
        super().__init__(**choices, allow_abbrev=False, formatter_class=HelpFormatter)
        self.color = False  # Python's own colours, from 3.14 on

    def print_help(self, file: TextIO | None = None) -> None:  # type: ignore[override]  # text alone
        """Write the help, with colours if that is a terminal."""
        stream = sys.stdout if file is None else file
        text = self.format_help()
        self._print_message(coloured_help(text) if has_colours(stream) else text, stream)

    def error(self, message: str) -> NoReturn:
        """Tell a mistake in one line, and where to look."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Write the help or a mistake; OSError if it cannot be written, which argparse hides."""
        if message:
            (file or sys.stderr).write(message)


def parser(chosen: Collection[str] = COMMANDS) -> argparse.ArgumentParser:
    """The parser of the command line; it knows the options of the chosen commands alone."""
    top = Parser(prog="wakumail", description="A Waku v1 node, mailserver and client.")
    top.add_argument("--version", action="version", version=f"wakumail {VERSION}")
    commands = top.add_subparsers(
        title="commands", dest="command", required=True, metavar="COMMAND"
    )
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text)
        if name in chosen:
            import_module(f"wakumail.cli.{name}").set_up(command)
            add_examples(command)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; answers its exit code.

    argv: the words of the command; None for those of this process, whose standard streams are then
    made safe to use.
    """
    if argv is not None:
        return run(argv)
    standard_streams.secure()
    try:
        code = run(sys.argv[1:])
    except SystemExit as end:  # argparse has told a mistake, or the help
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return standard_streams.finish(code)


def run(words: Sequence[str]) -> int:
    """Run one command; SystemExit for wrong usage and for --help."""
    name = "wakumail"
    try:
        arguments, unknown = parser(words[:1]).parse_known_args(words)
        name = f"wakumail {arguments.command}"
        if unknown:
            told = f"{name}: unrecognized arguments: {' '.join(unknown)}; see {name} --help"
            print(told, file=sys.stderr)
            return 2
        logs.start("info", log_json=False)
        if arguments.command not in UNTIL_STOPPED:
            interrupt_on_signals()
        if not gc.isenabled():  # see wakumail.__main__
            gc.freeze()
            gc.enable()
        return int(arguments.run(arguments))
    except (WakumailError, OSError, ValueError) as error:
        if not (isinstance(error, BrokenPipeError) and standard_streams.lost_reader()):
            logs.flush()
            print(f"{name}: {reason(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
