"""The tally of a peer: the numbers of its rounds and transfers since the start."""

from collections import Counter
from dataclasses import dataclass, field

from wakumail.mail.sync.packets import Refusal


@dataclass(slots=True)
class Tally:
    """The numbers of one peer that we sync with. They outlive its connections."""

    rounds: int = 0
    """Rounds that came to their end, of either side."""
    rounds_failed: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    """Bytes of the packets of `wakusync`, before compression."""
    had: int = 0
    """Envelopes that only we had, as our rounds found."""
    needed: int = 0
    """Envelopes that only the peer had, as our rounds found."""
    stored: int = 0
    """Envelopes of the peer that were stored here."""
    sent: int = 0
    """Envelopes of ours that the peer wanted and was sent."""
    refused: Counter[Refusal] = field(default_factory=Counter)
    """Envelopes of the peer that we refused."""
    agreed: float | None = None
    """The time at which both archives were last found equal (time.monotonic); None: not yet."""
    problem: str = ""
    """The reason for which they do not agree; empty if there is none, or none is known."""
