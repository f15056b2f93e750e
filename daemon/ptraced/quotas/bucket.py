"""Token buckets: rates that hold on average, and allow for bursts of a second."""

from __future__ import annotations

import math

_SECOND = 1_000_000_000


class Bucket:
    """Tokens that come at a rate per second, a second's worth at most; it may be in debt.

    Times are CLOCK_MONOTONIC, ns. A rate of None is no limit.
    """

    def __init__(self, rate: float | None, now: int) -> None:
        self._at = now
        self.tokens = math.inf if rate is None else float(rate)

    def refill(self, rate: float | None, now: int) -> None:
        """Add what has come since the last time, at a rate that may be another one now."""
        passed, self._at = max(0, now - self._at), now
        if rate is None:
            self.tokens = math.inf
        else:
            self.tokens = min(self.tokens + rate * passed / _SECOND, rate)

    def take(self, count: float) -> None:
        """Take tokens, whether or not there are as many."""
        self.tokens -= count
