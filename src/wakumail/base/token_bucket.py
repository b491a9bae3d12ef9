"""Rate limits: a token bucket, or one for each of many keys (6/WAKU1, "Rate Limits Field").

`now` is seconds of any clock. A clock that steps back neither adds nor takes tokens.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterable

MAX_BUCKETS = 16_384
"""Keys (peers, addresses) that a limiter remembers, at about 300 bytes each."""


class TokenBucket:
    """Holds at most `burst` tokens and gains `rate` a second. It starts full."""

    __slots__ = ("_burst", "_rate", "_time", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        if rate <= 0 or burst <= 0:
            raise ValueError("rate and burst must be positive")
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._time = now

    def holds(self, amount: float, now: float) -> bool:
        """True if `amount` tokens are there at `now`."""
        elapsed = max(0.0, now - self._time)
        self._tokens = min(self._burst, self._tokens + elapsed * self._rate)
        self._time = now
        return self._tokens >= amount

    def delay(self, amount: float, now: float) -> float:
        """Seconds from `now` until `amount` tokens are there."""
        return 0.0 if self.holds(amount, now) else (amount - self._tokens) / self._rate

    def most(self, amount: int, now: float) -> int:
        """Whole tokens that are there at `now`, from 1 to `amount`."""
        return amount if self.holds(amount, now) else max(1, int(self._tokens))

    def take(self, amount: float, now: float) -> bool:
        """Take `amount` tokens and return True; if there are fewer, take none."""
        if not self.holds(amount, now):
            return False
        self._tokens -= amount
        return True

    def owe(self, amount: float, now: float) -> None:
        """Take `amount` tokens even if fewer are there; the rest is a debt."""
        self.holds(amount, now)
        self._tokens -= amount


class RateLimiter:
    """A token bucket for each key: a peer id, an address.

    A `rate` of 0 sets no limit. `burst` is by default `rate`, but at least 1. At most MAX_BUCKETS
    keys are remembered. The key that was idle longest is forgotten first, and starts full again.
    """

    def __init__(self, rate: float, burst: float | None = None) -> None:
        self._rate = rate
        self._burst = max(1.0, rate) if burst is None else burst
        self._buckets: OrderedDict[Hashable, TokenBucket] = OrderedDict()

    def take(self, keys: Iterable[Hashable], now: float, amount: float = 1.0) -> bool:
        """Take `amount` from the buckets of all `keys`; if one has too little, from none."""
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
