"""How many new stacks of each user are given names, per second."""

from __future__ import annotations

from collections.abc import Callable

from ptraced.policy.grant import Quota
from ptraced.quotas.bucket import Bucket

# The key of all users together.
_ALL = -1
# Users whose buckets are kept; all are forgotten beyond, who owe at most a second's worth.
_KEPT = 4096
# Of new stacks without names: they take room and numbers, too.
_UNNAMED_PER_SECOND = 10_000


class StackRates:
    """Buckets by user. `total` gives the limits of all users together."""

    def __init__(self, total: Callable[[], Quota] = Quota) -> None:
        self._total = total
        self._limits: dict[int, int | None] = {}
        self._buckets: dict[int, Bucket] = {}
        self._unnamed: dict[int, Bucket] = {}

    def allow(self, uid: int, limit: int | None) -> None:
        """Set what a user may have from now on. Any thread may call it."""
        self._limits[uid] = limit

    def take(self, uid: int, time: int) -> bool:
        """Whether a new stack at `time` (CLOCK_MONOTONIC, ns) is given names. One thread asks."""
        if len(self._buckets) > _KEPT:
            self._buckets.clear()
        limits = {uid: self._limits.get(uid), _ALL: self._total().stacks_per_second}
        buckets = []
        for key, limit in limits.items():
            bucket = self._buckets.setdefault(key, Bucket(limit, time))
            bucket.refill(limit, max(time, bucket.at))
            buckets.append(bucket)
        if any(bucket.tokens < 1 for bucket in buckets):
            return False
        for bucket in buckets:
            bucket.take(1)
        return True

    def take_unnamed(self, uid: int, time: int) -> bool:
        """Whether a new stack that is given no names is kept at all."""
        if len(self._unnamed) > _KEPT:
            self._unnamed.clear()
        bucket = self._unnamed.setdefault(uid, Bucket(_UNNAMED_PER_SECOND, time))
        bucket.refill(_UNNAMED_PER_SECOND, max(time, bucket.at))
        if bucket.tokens < 1:
            return False
        bucket.take(1)
        return True
