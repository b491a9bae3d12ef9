"""The roster: the peers that are connected, and the guests among them, whose number is limited.

A server with one process has an OwnRoster. The workers of a server share one
(ops/workers/registry.py).
"""

from collections import Counter
from enum import Enum
from typing import Protocol


class Entry(Enum):
    """The outcome for a peer that asks to be entered."""

    DONE = 0
    DUPLICATE = 1
    """A peer with that node id is connected already, here or to another worker."""
    FULL = 2


class Roster(Protocol):
    """The roster as a node uses it. A node never enters a peer that it has already."""

    def enter(self, node_id: bytes, host: str, limit: int | None) -> Entry:
        """Enter a peer of this host.

        `limit`: the number of guests, this one included, that there may be; None for a peer that is
        no guest, for which there is always room.
        """

    def leave(self, node_id: bytes) -> None:
        """Forget a peer that was entered."""

    def set_guest(self, node_id: bytes, host: str | None) -> None:
        """Count an entered peer as a guest of this host; with None, as no guest."""

    def hosts(self) -> Counter[str]:
        """The number of guests of each host, at all workers together."""


class OwnRoster:
    """The roster of a server with one process."""

    def __init__(self) -> None:
        self._guests: dict[bytes, str] = {}
        """The host of each guest, by node id."""

    def enter(self, node_id: bytes, host: str, limit: int | None) -> Entry:
        """See Roster."""
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
        """Count a peer as a guest, or as none."""
        self._guests.pop(node_id, None)
        if host is not None:
            self._guests[node_id] = host

    def hosts(self) -> Counter[str]:
        """The number of guests of each host."""
        return Counter(self._guests.values())
