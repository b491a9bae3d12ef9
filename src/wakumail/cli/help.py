"""The look of the help: its usage, its lines, its colours on a terminal."""

import argparse
import re
from collections.abc import Iterable
from typing import Any

from wakumail.base.colours import Colour

MANY_OPTIONS = 40
"""Beyond it the usage does not list them all: the help has them in groups."""


class HelpFormatter(argparse.HelpFormatter):
    """Keeps the usage short. Texts of several lines stay as they are, others are filled."""

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[Any],
        prefix: str | None = None,
    ) -> None:
        """Add the usage; of a command with many options only its arguments."""
        named = [action for action in actions if not action.option_strings]
        if usage is None and len(list(actions)) > MANY_OPTIONS:
            usage = " ".join(["%(prog)s [OPTION]...", *(str(each.metavar) for each in named)])
        super().add_usage(usage, actions, groups, prefix)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return text
        return super()._fill_text(text, width, indent)


def coloured_help(text: str) -> str:
    """A help text for a terminal: headings bold, options and commands in a colour."""
    bold, cyan = Colour.BOLD(r"\1"), Colour.CYAN(r"\1")
    text = re.sub(r"^(usage:|\S[^:\n]*:$)", bold, text, flags=re.MULTILINE)
    text = re.sub(r"(?<=^ {4})([a-z]+)(?=  |$)", cyan, text, flags=re.MULTILINE)
    return re.sub(r"(?<![\w./-])(--?[a-z][\w.-]*)", cyan, text)
