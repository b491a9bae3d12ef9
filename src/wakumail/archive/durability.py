"""The operator's choice between early confirmations and few syncs."""

from enum import StrEnum


class Durability(StrEnum):
    """The delay of commits. Each commit is synced before it is confirmed."""

    COMMIT = "commit"
    """At once, with all that came while the last commit was written."""
    INTERVAL = "interval"
    """Every COMMIT_INTERVAL seconds (see writer_thread.py): fewer syncs, later confirmations."""
