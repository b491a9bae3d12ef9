"""The settings of sync. They are read at each start, so this file imports nothing else."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SyncConfig:
    """The settings of sync."""

    sync_interval: float
    """Seconds between two rounds with a peer; 0: rounds are made on demand only."""
    sync_window: int
    """Seconds before now that rounds go back; 0 for all that is kept."""
    retention: int
    """Seconds for which our archive keeps envelopes; 0 for ever."""
    topics: tuple[bytes, ...]
    """The topics that our archive takes; none: all."""
