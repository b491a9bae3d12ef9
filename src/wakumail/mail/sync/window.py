"""The window of a round: the creation times for which both sides are made equal."""

from wakumail.base.keccak import keccak256
from wakumail.mail.sync.items import Window
from wakumail.mail.sync.packets import Status

SETTLING = 10
"""Seconds: younger envelopes are left to the live relay, which may still bring them to both."""

HORIZON_SLACK = 3600
"""Seconds above the later horizon of the two: what is about to be pruned is not moved."""

MAX_DRIFT = 60
"""Seconds between two clocks that nobody is told of."""

MINUTE = 60
"""A window begins with a whole minute, for which an archive has a sum."""


def agree(own: Status, peer: Status, span: int) -> Window | None:
    """The window of two sides, as their statuses are now; None if they have none in common.

    `span` bounds it to that number of seconds before now; 0 does not. Of two clocks the earlier one
    counts.
    """
    now = min(own.now, peer.now)
    horizon = max(own.horizon, peer.horizon)
    lower = horizon + HORIZON_SLACK if horizon else 0
    if span:
        lower = max(lower, now - span)
    window = Window(-(-lower // MINUTE) * MINUTE, now - SETTLING)
    return window if window.first < window.end else None


def topics_digest(topics: tuple[bytes, ...]) -> bytes:
    """Names a choice of topics: the Keccak-256 of all of them, sorted; of nothing for every one."""
    return keccak256(b"".join(sorted(set(topics))))
