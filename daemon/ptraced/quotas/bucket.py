"""Token buckets: rates that hold on average, and allow for bursts."""

from __future__ import annotations

import math

_SECOND = 1_000_000_000


class Bucket:
    """Tokens that come at a rate per `period` (seconds), a period's worth at most.

    It may be in debt. Times are CLOCK_MONOTONIC, ns. A rate of None is no limit.
    """

    def __init__(self, rate: float | None, now: int, period: int = 1) -> None:
        self.at = now
        self._period = period * _SECOND
        self.tokens = math.inf if rate is None else float(rate)

    def refill(self, rate: float | None, now: int) -> None:
        """Add what has come since the last time, at a rate that may be another one now."""
        passed, self.at = max(0, now - self.at), now
        if rate is None:
            self.tokens = math.inf
        else:
            self.tokens = min(self.tokens + rate * passed / self._period, rate)

    def take(self, count: float) -> None:
        """Take tokens, whether or not there are as many."""
        self.tokens -= count
