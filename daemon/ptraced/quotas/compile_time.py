"""The compiler's time that users have taken, of what they may take in a minute."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from ptraced.errors import LimitExceeded
from ptraced.policy.grant import Quota
from ptraced.quotas.bucket import Bucket

_MINUTE = 60
# Users whose times are kept; those with the most left over are forgotten first.
_KEPT = 4096
# The key of all users together.
_ALL = -1


class CompileTime:
    """Buckets of ms, by user. `total` gives the limits of all users together."""

    def __init__(
        self, total: Callable[[], Quota] = Quota, now: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._total = total
        self._now = now
        self._lock = threading.Lock()
        self._buckets: dict[int, Bucket] = {}

    def check(self, uid: int, quota: Quota) -> None:
        """Raise LimitExceeded where a user, or all of them, have had their time."""
        with self._lock:
            for key, limit, whose in (
                (uid, quota.compile_ms, "your"),
                (_ALL, self._total().compile_ms, "the host's"),
            ):
                tokens = self._bucket(key, limit).tokens
                if limit is not None and tokens <= 0:
                    seconds = math.floor(-tokens * _MINUTE / limit) + 1
                    raise LimitExceeded(
                        f"error: the compiler has worked for {whose} limit of {limit} ms per "
                        f"minute; come again in {seconds} s, or ask for what is traced already"
                    )

    def charge(self, uid: int, quota: Quota, ns: int) -> None:
        """Account for a compilation."""
        with self._lock:
            self._bucket(uid, quota.compile_ms).take(ns / 1e6)
            self._bucket(_ALL, self._total().compile_ms).take(ns / 1e6)

    def _bucket(self, key: int, limit: int | None) -> Bucket:
        now = self._now()
        if key not in self._buckets:
            if len(self._buckets) >= _KEPT:
                del self._buckets[max(self._buckets, key=lambda key: self._buckets[key].tokens)]
            self._buckets[key] = Bucket(limit, now, _MINUTE)
        bucket = self._buckets[key]
        bucket.refill(limit, now)
        return bucket
