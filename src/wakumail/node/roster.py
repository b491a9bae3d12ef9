"""The roster: who is connected, and whether there is room for one more.

A server in one process keeps it to itself; the processes of a server that has several share one
(see workers/registry.py).
"""

from collections import Counter
from enum import Enum
from typing import Protocol


class Entry(Enum):
    """What became of a peer that wants in."""

    DONE = 0
    DUPLICATE = 1
    """A peer of that identity is connected already, here or to another process of this server."""
    FULL = 2


class Roster(Protocol):
    """Whom a node asks; it never enters a peer that is its own already."""

    def enter(self, node_id: bytes, host: str, limit: int | None) -> Entry:
        """Take a peer in.

        `limit`: how many guests there may be, of which this is one; None for a peer that is no
        guest, and always has room.
        """

    def leave(self, node_id: bytes) -> None:
        """Forget a peer that was taken in."""

    def set_guest(self, node_id: bytes, host: str | None) -> None:
        """Count a peer that was taken in as a guest of this host, or with None no longer."""

    def hosts(self) -> Counter[str]:
        """How many guests each host has, here and at all other processes of this server."""


class OwnRoster:
    """The roster of one process alone."""

    def __init__(self) -> None:
        self._guests: dict[bytes, str] = {}
        """And the host of each."""

    def enter(self, node_id: bytes, host: str, limit: int | None) -> Entry:
        """Take a peer in, as Roster says."""
        if limit is None:
            return Entry.DONE
        if len(self._guests) >= limit:
            return Entry.FULL
        self._guests[node_id] = host
        return Entry.DONE

    def leave(self, node_id: bytes) -> None:
        """Forget a peer."""
        self._guests.pop(node_id, None)

    def set_guest(self, node_id: bytes, host: str | None) -> None:
        """Count it as a guest, or no longer."""
        self._guests.pop(node_id, None)
        if host is not None:
            self._guests[node_id] = host

    def hosts(self) -> Counter[str]:
        """How many guests each host has."""
        return Counter(self._guests.values())
