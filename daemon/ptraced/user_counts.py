"""Counts by user, of few enough users."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

# What users beyond the limit are summed up as.
OTHER = None

_USERS_MAX = 100


class UserCounts(Generic[Key]):
    """Counters by uid. Beyond `users_max`, those of users who were seen least lately are added up.

    The owner has the lock.
    """

    def __init__(self, users_max: int = _USERS_MAX) -> None:
        self._most = users_max
        self._users: OrderedDict[int, Counter[Key]] = OrderedDict()
        self._other: Counter[Key] = Counter()

    def add(self, uid: int | None, amounts: Mapping[Key, int]) -> None:
        """Add to the counters of a user; None: of somebody who is not known."""
        if uid is None:
            self._other.update(amounts)
            return
        self._users.setdefault(uid, Counter()).update(amounts)
        self._users.move_to_end(uid)
        if len(self._users) > self._most:
            _, counts = self._users.popitem(last=False)
            self._other.update(counts)

    def snapshot(self) -> dict[int | None, Counter[Key]]:
        """Copies of all counters by uid, with those of the others under OTHER."""
        found: dict[int | None, Counter[Key]] = {
            uid: Counter(counts) for uid, counts in self._users.items()
        }
        if self._other:
            found[OTHER] = Counter(self._other)
        return found
