"""Whose turn it is: who has taken the least of a shared thread's time goes first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)

# Weight of the latest time in the average.
_WEIGHT = 1 / 8
# The part of the time between passes that may go into serving light ones once more.
_LIGHT_PART = 1 / 4


class Turns(Generic[Item]):
    """How long items take on average, ns, and for which users they are (uids).

    An item is as heavy as all items of the lightest user that it is for.
    """

    def __init__(self) -> None:
        self._taken: dict[Item, float] = {}

    def note(self, item: Item, taken: int) -> None:
        """Note how long an item took this time, ns."""
        before = self._taken.get(item, 0.0)
        self._taken[item] = before + (taken - before) * _WEIGHT

    def forget(self, item: Item) -> None:
        self._taken.pop(item, None)

    def order(self, users: Mapping[Item, Iterable[int]]) -> list[Item]:
        """The items, lightest first."""
        by_user: defaultdict[int, float] = defaultdict(float)
        for item, uids in users.items():
            for uid in set(uids):
                by_user[uid] += self._taken.get(item, 0.0)
        weights = {
            item: min((by_user[uid] for uid in uids), default=0) for item, uids in users.items()
        }
        return sorted(users, key=weights.__getitem__)

    def light(self, ordered: Iterable[Item], interval: float) -> list[Item]:
        """The first of `ordered`: all that together are light enough to be served in between.

        `interval` is how often that may be, ns.
        """
        found, left = [], interval * _LIGHT_PART
        for item in ordered:
            left -= self._taken.get(item, 0.0)
            if left < 0:
                break
            found.append(item)
        return found
