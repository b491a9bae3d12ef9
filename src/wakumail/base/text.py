"""Text from a peer, made safe for logs and terminals."""

MAX_TEXT = 1024
"""Characters of an error's text that are kept."""


def printable(text: bytes, limit: int = MAX_TEXT) -> str:
    """At most `limit` characters of UTF-8. Characters that could steer a terminal become `?`."""
    cut = text.decode("utf-8", "replace")[:limit]
    return "".join(c if c.isprintable() else "?" for c in cut)
