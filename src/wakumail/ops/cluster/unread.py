"""The time for which messages of the log wait to be read."""


class Unread:
    """Looks again and again at what is not read yet. Under load there is always something."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """The time for which a message has waited, as the looks have seen it; 0 if none waits."""
        self._seen: tuple[int, float] | None = None
        """A message that waits, and the time at which it was seen first."""

    def look(self, head: int, last: int, now: float) -> None:
        """Take note that all is read up to `head`, and the log goes up to `last`."""
        if self._seen is None or self._seen[0] <= head:
            self._seen = (last, now) if last > head else None
        self.seconds = 0.0 if self._seen is None else now - self._seen[1]
