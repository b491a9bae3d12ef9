"""Colours of text on a terminal."""

import os
from enum import StrEnum
from typing import TextIO


class Colour(StrEnum):
    """A look of text, as ECMA-48 numbers it ("Select graphic rendition")."""

    BOLD = "1"
    RED = "31"
    YELLOW = "33"
    CYAN = "36"

    def __call__(self, text: str) -> str:
        """The text in this look."""
        return f"\x1b[{self}m{text}\x1b[0m"


def has_colours(stream: TextIO) -> bool:
    """True if the stream is a terminal, and NO_COLOR (no-color.org) is empty or not set."""
    environment = os.environ
    return not environment.get("NO_COLOR") and environment.get("TERM") != "dumb" and stream.isatty()
