"""When the envelopes of an archive are committed."""

from enum import StrEnum


class Durability(StrEnum):
    """The delay of commits. Each commit is synced before it is confirmed."""

    COMMIT = "commit"
    """At once, with all that came while the last commit was written."""
    INTERVAL = "interval"
    """Every COMMIT_INTERVAL seconds: fewer syncs, later confirmations."""
