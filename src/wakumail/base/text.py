"""Texts for people: those of peers made safe, and numbers with their nouns, sizes, times."""

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


def in_bytes(size: float) -> str:
    """A size with a unit of 1000s: `512 B`, `3.4 MB`, `120 GB`."""
    unit = "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            break
        size /= 1000
    return f"{size:,.0f} {unit}" if unit == "B" or size >= 9.95 else f"{size:.1f} {unit}"


def in_time(seconds: float) -> str:
    """A duration with its largest fitting unit: `850 ms`, `12 s`, `3.4 days`."""
    if seconds < 0.00995:
        return f"{1000 * seconds:.1f} ms"
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    unit, size = "s", 1.0
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= 2 * size or unit == "s":
            break
    number = seconds / size
    return f"{number:,.0f} {unit}" if number >= 9.95 else f"{number:.1f} {unit}"
