"""The outcome of a round."""

from collections import Counter
from dataclasses import dataclass, field

from wakumail.mail.sync.items import ITEM_SIZE, TIME_SIZE, Window
from wakumail.mail.sync.packets import Refusal

HOUR = 3600


@dataclass(slots=True)
class Outcome:
    """The outcome of a round."""

    window: Window
    trips: int = 0
    """Messages of ours that the peer answered."""
    had: int = 0
    """Envelopes that only we had."""
    needed: int = 0
    """Envelopes that only the peer had."""
    stored: int = 0
    """Of those needed: on our disk now."""
    given: int = 0
    """Of those had: on the peer's disk now."""
    full: bool = False
    """The round ended early, for it had found enough to be moved."""
    gone: int = 0
    """Of those needed: gone at the peer when we wanted them."""
    refused: Counter[Refusal] = field(default_factory=Counter)
    hours: dict[int, list[int]] = field(default_factory=dict)
    """Of a round that moves nothing: the numbers had and needed by the hour (its first second) in
    which they were created."""

    agreed: bool = False
    """Both sides have the same at the end, but for what one of them refuses."""

    def add(self, later: "Outcome") -> None:
        """Add the outcome of the round that followed."""
        self.trips += later.trips
        self.had += later.had
        self.needed += later.needed
        self.stored += later.stored
        self.given += later.given
        self.gone += later.gone
        self.refused += later.refused
        self.agreed = later.agreed
        self.full = later.full

    def note(self, items: bytes, column: int) -> None:
        """Add items to a column of `hours`."""
        for at in range(0, len(items), ITEM_SIZE):
            hour = int.from_bytes(items[at : at + TIME_SIZE], "big") // HOUR * HOUR
            self.hours.setdefault(hour, [0, 0])[column] += 1

    @property
    def moved(self) -> bool:
        """True if a further round may find less."""
        return bool(self.stored or self.given or self.gone)

    @property
    def equal(self) -> bool:
        """True if both sides had the same."""
        return not self.had and not self.needed
