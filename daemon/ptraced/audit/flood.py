"""A bound on how often something is told of somebody, so that nobody can fill the disk."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

# Keys that are remembered; beyond them the one that was seen least lately is forgotten.
_KEYS_MAX = 4096


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class FloodGate(Generic[Key]):
    """A token bucket for each key. Its owner has the lock; times are in seconds."""

    def __init__(self, keys_max: int = _KEYS_MAX) -> None:
        self._most = keys_max
        self._buckets: OrderedDict[Key, _Bucket] = OrderedDict()
        # Those that have left something out which nobody was told of yet.
        self._silenced: dict[Key, int] = {}

    def admits(self, key: Key, burst: int, per_second: float, now: float) -> bool:
        """Whether to tell of `key` now; what is not told is counted."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(burst, now)
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        bucket.tokens = min(burst, bucket.tokens + (now - bucket.at) * per_second)
        bucket.at = now
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return True
        self._silenced[key] = self._silenced.get(key, 0) + 1
        return False

    def left_out(self) -> dict[Key, int]:
        """How often each key was not admitted since the last call."""
        told, self._silenced = self._silenced, {}
        return told
