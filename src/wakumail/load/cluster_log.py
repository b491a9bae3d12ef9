"""The log of a cluster, as the cases need it. It comes from a room above: a command gives it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from wakumail.load.clients.role import LoadFailed


class ClusterLog(Protocol):
    """Servers of a log on this machine, with a stream for the hosts of a cluster."""

    directory: Path
    """Has room for archives of hosts."""
    flags: Sequence[str]
    """Those of `wakumail serve` for a host."""

    def cpu(self) -> float:
        """The seconds of CPU that all its servers have taken."""

    def fill(self, streams: Iterator[bytes]) -> None:
        """Write a message for each item: RLPs of envelopes, joined."""

    def time_alone(self, size: int, count: int, in_flight: int) -> list[float]:
        """The seconds that each of `count` messages of `size` bytes takes to be acknowledged.

        They go to another stream of the same servers, through the client that the hosts use.
        in_flight: the number of them that are on their way together.
        """


OpenLog = Callable[[], AbstractContextManager[ClusterLog]]
"""Starts the servers of a log, and makes its stream."""


def no_log() -> AbstractContextManager[ClusterLog]:
    """LoadFailed: nobody has given a log."""
    raise LoadFailed("no log of a cluster was given")
