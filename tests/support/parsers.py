"""The parsers of the command line, for tests of all commands."""

import argparse
from collections.abc import Iterator


def subcommands(of: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The actions of a command, by their names."""
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def parsers(of: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser, and those of its commands and their actions."""
    yield of
    for inner in subcommands(of).values():
        yield from parsers(inner)
