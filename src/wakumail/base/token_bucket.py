"""Rate limits: token buckets, for one thing or for each of many (6/WAKU1, "Rate Limits Field").

`now` is seconds of any clock; a step back gives no tokens and takes none.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterable

MAX_BUCKETS = 16_384
"""Peers and addresses that a limiter remembers, some 300 bytes each."""


class TokenBucket:
    """Holds `burst` tokens at most, `rate` come back each second; full in the beginning."""

    __slots__ = ("_burst", "_rate", "_time", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        if rate <= 0 or burst <= 0:
            raise ValueError("rate and burst must be positive")
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._time = now

    def holds(self, amount: float, now: float) -> bool:
        """Whether `amount` tokens are there at `now`."""
        elapsed = max(0.0, now - self._time)
        self._tokens = min(self._burst, self._tokens + elapsed * self._rate)
        self._time = now
        return self._tokens >= amount

    def delay(self, amount: float, now: float) -> float:
        """Seconds from `now` until `amount` tokens are there."""
        return 0.0 if self.holds(amount, now) else (amount - self._tokens) / self._rate

    def take(self, amount: float, now: float) -> bool:
        """Take `amount` tokens, or none when there are fewer."""
        if not self.holds(amount, now):
            return False
        self._tokens -= amount
        return True

    def owe(self, amount: float, now: float) -> None:
        """Take `amount` tokens, also those that are not there yet."""
        self.holds(amount, now)
        self._tokens -= amount


class RateLimiter:
    """A token bucket for each key: a peer id, an address.

    A `rate` of 0 sets no limit. `burst` is `rate` unless given, and 1 at least. At most MAX_BUCKETS
    are remembered: the one that was idle longest makes room, and begins anew when it comes back.
    """

    def __init__(self, rate: float, burst: float | None = None) -> None:
        self._rate = rate
        self._burst = max(1.0, rate) if burst is None else burst
        self._buckets: OrderedDict[Hashable, TokenBucket] = OrderedDict()

    def take(self, keys: Iterable[Hashable], now: float, amount: float = 1.0) -> bool:
        """Take `amount` from the buckets of all `keys`, or from none when one has too little."""
        if self._rate <= 0:
            return True
        buckets = [self._bucket(key, now) for key in keys]
        if not all(bucket.holds(amount, now) for bucket in buckets):
            return False
        return all(bucket.take(amount, now) for bucket in buckets)

    def _bucket(self, key: Hashable, now: float) -> TokenBucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= MAX_BUCKETS:
                self._buckets.popitem(last=False)
            bucket = self._buckets[key] = TokenBucket(self._rate, self._burst, now)
        self._buckets.move_to_end(key)
        return bucket
