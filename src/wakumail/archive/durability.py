"""The delay of the commits of an archive."""

from enum import StrEnum


class Durability(StrEnum):
    """Each commit is synced before it is confirmed."""

    COMMIT = "commit"
    """At once, with all that came while the last commit was written."""
    INTERVAL = "interval"
    """Every COMMIT_INTERVAL seconds (see writer_thread.py): fewer syncs, later confirmations."""
