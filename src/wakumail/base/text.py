"""Words of a peer, which end in logs and terminals."""

MAX_TEXT = 1024
"""Characters that are kept of an error's text."""


def printable(text: bytes, limit: int = MAX_TEXT) -> str:
    """At most `limit` characters of UTF-8; whatever would steer a terminal becomes a `?`."""
    cut = text.decode("utf-8", "replace")[:limit]
    return "".join(c if c.isprintable() else "?" for c in cut)
