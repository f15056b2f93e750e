"""The budget of BPF run time: whose sessions cost the host more than they may."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from ptraced.errors import LimitExceeded
from ptraced.policy.grant import Quota

Key = TypeVar("Key", bound=Hashable)

# A budget holds on average over so many seconds.
_WINDOW = 5
_SECOND = 1_000_000_000
# Who was over it opens no session until the average is right again, or so many seconds have passed.
_LONGEST_WAIT = 60


class Budget(Generic[Key]):
    """Adds up what sessions cost, and says at the end of each window which of them must end.

    Used by one thread at a time, but for `allow` and `check`. `total` gives the limits of all
    users together.
    """

    def __init__(
        self,
        total: Callable[[], Quota],
        now: int,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._clock = clock
        self._total = total
        self._began = now
        # Of all who ever came: a session of theirs may be about to begin.
        self._percents: dict[int, int | None] = {}
        self._costs: defaultdict[int, Counter[Key]] = defaultdict(Counter)
        # What sessions have cost that are over.
        self._gone: Counter[int] = Counter()
        # When users who were over their budgets may open sessions again, ns.
        self._again: dict[int, int] = {}

    def allow(self, uid: int, percent: int | None) -> None:
        """Set what a user's programs may take, percent of a CPU. Any thread may call it."""
        self._percents[uid] = percent

    def check(self, uid: int) -> None:
        """Raise LimitExceeded for who was over the budget just now. Any thread may call it."""
        left = self._again.get(uid, 0) - self._clock()
        if left > 0:
            raise LimitExceeded(
                "error: the BPF programs of your sessions took more time of the CPUs than your "
                f"budget; come again in {math.ceil(left / _SECOND)} s"
            )

    def gone(self, uid: int, session: Key) -> None:
        """Note that a session is over: what it has cost still counts."""
        self._gone[uid] += self._costs[uid].pop(session, 0)

    def note(self, uid: int, session: Key, cost: int) -> None:
        """Note what a session of a user has cost since the last time, ns."""
        self._costs[uid][session] += cost

    def overdrawn(self, now: int) -> list[tuple[Key, str]]:
        """The sessions that are to end, at most one of each user, and what to tell them."""
        passed = now - self._began
        if passed < _WINDOW * _SECOND:
            return []
        percents = {
            uid: 100 * (self._costs[uid].total() + self._gone[uid]) / passed
            for uid in {*self._costs, *self._gone}
        }
        found = {}
        for uid, percent in percents.items():
            limit = self._percents.get(uid)
            if limit is not None and percent > limit:
                self._make_wait(uid, percent, limit, passed)
                # Sessions that are there still may be within it.
                if 100 * self._costs[uid].total() / passed > limit:
                    found[uid] = f"your budget is {limit} %"
        limit = self._total().cpu_percent
        if limit is not None and not found and sum(percents.values()) > limit:
            costliest = max(percents, key=percents.__getitem__)
            found[costliest] = f"the host's budget for all users is {limit} %"
            self._make_wait(costliest, sum(percents.values()), limit, passed)
        ends = [
            self._end(uid, percents[uid], passed, budget)
            for uid, budget in found.items()
            if self._costs[uid].total()
        ]
        self._began = now
        self._costs.clear()
        self._gone.clear()
        return ends

    def _make_wait(self, uid: int, percent: float, limit: int, passed: int) -> None:
        longest = _LONGEST_WAIT * _SECOND
        wait = passed * (percent / limit - 1) if limit else longest
        self._again[uid] = self._clock() + int(min(wait, longest))

    def _end(self, uid: int, percent: float, passed: int, budget: str) -> tuple[Key, str]:
        ((session, cost),) = self._costs[uid].most_common(1)
        return session, (
            f"the BPF programs of your sessions took {percent:.2f} % of a CPU over "
            f"{passed / _SECOND:.0f} s, and {budget}; this session took the most of it, "
            f"{100 * cost / passed:.2f} %"
        )
