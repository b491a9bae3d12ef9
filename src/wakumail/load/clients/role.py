"""The interface of a client: a Load opens a Role, whose runs have an Outcome."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from wakumail.devp2p.enode import Enode

KeepGoing = Callable[[], bool]
"""True while a run should go on. A role that does not end by itself asks."""


class LoadFailed(Exception):
    """A load did not finish, so nothing is measured."""


@dataclass(slots=True)
class Tally:
    """The work of a client in one run."""

    envelopes: int = 0
    bytes: int = 0
    """Bytes of all envelopes."""
    seconds: list[float] = field(default_factory=list)
    """Seconds of each request, or of each connection that was made."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The work of a client, its start and end in monotonic seconds, and its seconds of CPU."""

    tally: Tally
    began: float
    ended: float
    cpu: float


class Role(Protocol):
    """A client. LoadFailed, WakumailError and OSError of any method make the case fail."""

    def prepare(self) -> None:
        """Do all that is not measured. Called before each `run`."""

    def run(self, keep_going: KeepGoing) -> None:
        """Do what is measured."""

    def answer_pings(self) -> None:
        """Answer the pings that have come. Called once a second while the client waits."""

    def tally(self) -> Tally:
        """The work of the last run. LoadFailed if the server did not do its part."""

    def close(self) -> None:
        """Close the connections."""


class Load(Protocol):
    """The parameters of a client, which can be sent to another process."""

    def open(self, enode: Enode) -> Role:
        """Make the client, and connect it."""
