"""Texts for people: those of peers made safe, and numbers with their nouns, times."""

import time

MAX_TEXT = 1024
"""Characters of an error's text that are kept."""


def printable(text: bytes, limit: int = MAX_TEXT) -> str:
    """At most `limit` characters of UTF-8. Characters that could steer a terminal become `?`."""
    cut = text.decode("utf-8", "replace")[:limit]
    return "".join(c if c.isprintable() else "?" for c in cut)


def counted(count: int, noun: str) -> str:
    """A number and its noun, which is in the plural unless the number is 1."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def utc(seconds: int) -> str:
    """Unix seconds in the form of ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
