"""A budget for datagrams of discovery that cost us time, by address and in all.

A signature takes 50 to 100 us to verify, and anybody can send one from a made-up address. So what
nobody has asked for has a budget, and what is over it is dropped unseen.
"""

from wakumail.base.token_bucket import RateLimiter, TokenBucket

MAX_FROM_ADDRESS = 50.0
"""Unasked datagrams per second from one address that are read."""

BURST_FROM_ADDRESS = 400.0
"""Unasked datagrams from one address that are read at once."""

MAX_FROM_STRANGERS = 60.0
"""Signatures per second that are verified for addresses which have proven nothing. To answer one
and to ping back costs 250 us."""

BURST_FROM_STRANGERS = 300.0
"""The same, at once."""

MAX_FROM_KNOWN = 150.0
"""Signatures per second that are verified for addresses which have answered a ping."""

BURST_FROM_KNOWN = 600.0
"""The same, at once."""


class DatagramBudget:
    """The budgets of datagrams that were not asked for."""

    def __init__(self, now: float) -> None:
        self._addresses = RateLimiter(MAX_FROM_ADDRESS, BURST_FROM_ADDRESS)
        self._strangers = TokenBucket(MAX_FROM_STRANGERS, BURST_FROM_STRANGERS, now)
        self._known = TokenBucket(MAX_FROM_KNOWN, BURST_FROM_KNOWN, now)

    def may_read(self, ip: str, *, known: bool, now: float) -> str:
        """Charge an address for one datagram; the counter of the budget that is used up, or ""."""
        if not self._addresses.take((ip,), now):
            return "discovery_over_address_budget"
        if not (self._known if known else self._strangers).holds(1.0, now):
            return "discovery_over_total_budget"
        return ""

    def charge(self, *, known: bool, now: float) -> None:
        """Charge for a signature that is about to be verified."""
        (self._known if known else self._strangers).owe(1.0, now)
