"""The budget of BPF run time: whose sessions cost the host more than they may."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from ptraced.policy.grant import Quota

Key = TypeVar("Key", bound=Hashable)

# A budget holds on average over so many seconds.
_WINDOW = 5
_SECOND = 1_000_000_000


class Budget(Generic[Key]):
    """Adds up what sessions cost, and says at the end of each window which of them must end.

    Used by one thread at a time, but for `allow`. `total` gives the limits of all users together.
    """

    def __init__(self, total: Callable[[], Quota], now: int) -> None:
        self._total = total
        self._began = now
        # Of all who ever came: a session of theirs may be about to begin.
        self._percents: dict[int, int | None] = {}
        self._costs: defaultdict[int, Counter[Key]] = defaultdict(Counter)

    def allow(self, uid: int, percent: int | None) -> None:
        """Set what a user's programs may take, percent of a CPU. Any thread may call it."""
        self._percents[uid] = percent

    def note(self, uid: int, session: Key, cost: int) -> None:
        """Note what a session of a user has cost since the last time, ns."""
        self._costs[uid][session] += cost

    def overdrawn(self, now: int) -> list[tuple[Key, str]]:
        """The sessions that are to end, at most one of each user, and what to tell them."""
        passed = now - self._began
        if passed < _WINDOW * _SECOND:
            return []
        percents = {uid: 100 * costs.total() / passed for uid, costs in self._costs.items()}
        found = {}
        for uid, percent in percents.items():
            limit = self._percents.get(uid)
            if limit is not None and percent > limit:
                found[uid] = f"your budget is {limit} %"
        limit = self._total().cpu_percent
        if limit is not None and not found and sum(percents.values()) > limit:
            costliest = max(percents, key=percents.__getitem__)
            found[costliest] = f"the host's budget for all users is {limit} %"
        ends = [self._end(uid, percents[uid], passed, budget) for uid, budget in found.items()]
        self._began = now
        self._costs.clear()
        return ends

    def _end(self, uid: int, percent: float, passed: int, budget: str) -> tuple[Key, str]:
        ((session, cost),) = self._costs[uid].most_common(1)
        return session, (
            f"the BPF programs of your sessions took {percent:.2f} % of a CPU over "
            f"{passed / _SECOND:.0f} s, and {budget}; this session took the most of it, "
            f"{100 * cost / passed:.2f} %"
        )
