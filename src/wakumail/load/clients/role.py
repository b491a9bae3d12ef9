"""What a client of the bench is: a load that opens a role, and what that comes to."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from wakumail.devp2p.enode import Enode

KeepGoing = Callable[[], bool]
"""Whether a role should go on: one that has no end of its own asks."""


class LoadFailed(Exception):
    """A load did not come to its end, so there is nothing that it has measured."""


@dataclass(slots=True)
class Tally:
    """What a client has done."""

    envelopes: int = 0
    bytes: int = 0
    """Of envelopes."""
    seconds: list[float] = field(default_factory=list)
    """Of each request, or each connection that was made."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a client has done, when (monotonic seconds), and the CPU (seconds) it took for that."""

    tally: Tally
    began: float
    ended: float
    cpu: float


class Role(Protocol):
    """What one client does. A failure is any exception; it ends the bench."""

    def prepare(self) -> None:
        """Whatever need not be measured; called before each `run`."""

    def run(self, keep_going: KeepGoing) -> None:
        """What is measured."""

    def answer_pings(self) -> None:
        """Answer the pings that have come; called about once a second while the client waits."""

    def tally(self) -> Tally:
        """What the last run came to, after it was checked."""

    def close(self) -> None:
        """Hang up."""


class Load(Protocol):
    """A role that can be sent to another process."""

    def open(self, enode: Enode) -> Role:
        """Connect."""
