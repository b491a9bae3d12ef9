"""The allowance of a peer: the status updates and the unasked history that it may send."""

from wakumail.base.token_bucket import TokenBucket

UPDATE_OVERHEAD = 500
"""Bytes that a status update counts for, beside its own: it may start work for the relay."""

UPDATE_RATE = 5_000
"""Bytes of status updates that a peer may send per second, on average."""

UPDATE_BURST = 1 << 20
"""Bytes of status updates that a peer may send at once: 2,000 small ones, or 20 with
MAX_TOPIC_INTEREST topics."""

UNASKED_ENVELOPES = 10_000
"""Envelopes and completions that a trusted peer may send per minute when no request is open."""

UNASKED_BYTES = 10 << 20
"""Bytes of P2P Messages packets and completions that it may send per minute."""


class Allowance:
    """Counts the packets of one peer that cost us work and that nobody asked for."""

    def __init__(self, now: float) -> None:
        self._updates = TokenBucket(UPDATE_RATE, UPDATE_BURST, now)
        self._envelopes = TokenBucket(UNASKED_ENVELOPES / 60, UNASKED_ENVELOPES, now)
        self._bytes = TokenBucket(UNASKED_BYTES / 60, UNASKED_BYTES, now)

    def take_update(self, size: int, now: float) -> bool:
        """Count a status update of `size` bytes; False if it is over the allowance."""
        return self._updates.take(UPDATE_OVERHEAD + size, now)

    def take_bytes(self, size: int, now: float) -> bool:
        """Count `size` bytes of unasked history; False if they are over the allowance."""
        return self._bytes.take(size, now)

    def take_envelopes(self, count: int, now: float) -> bool:
        """Count envelopes and completions of it; False if they are over the allowance."""
        return self._envelopes.take(count, now)
