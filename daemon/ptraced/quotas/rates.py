"""Events and bytes per second of each user, and of all: how much sources may submit.

A source of a user whose rate is limited has a credit in memory that it shares with the kernel:
its programs submit so many hits, and only count those beyond. Buckets here know what was read
in the end, whatever the kernel let through meanwhile, and so the rates hold on average.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Protocol

from ptraced.policy.grant import Quota
from ptraced.quotas.bucket import Bucket

# How long a demand is measured before shares are divided anew, ns.
_MEASURED = 100_000_000
# A source without a hit for so long takes no part in its user's credit, ns.
_IDLE = 1_000_000_000
_SECOND = 1_000_000_000
# More hits than any ring takes.
_PLENTY = 1 << 40


class CreditedSource(Protocol):
    """What is needed of a source of a user whose rate is limited."""

    def set_credit(self, hits: int) -> None: ...


@dataclass(slots=True)
class Amount:
    """Events, and the bytes of their rows."""

    events: float = 0
    bytes: float = 0

    def add(self, events: float, size: float) -> None:
        self.events += events
        self.bytes += size


@dataclass(slots=True)
class _User:
    quota: Quota
    events: Bucket
    bytes: Bucket
    # Its sources, and when each last had a hit.
    sources: dict[CreditedSource, int] = field(default_factory=dict)
    # What was asked for since `_measured_since`, delivered or not, and per second before that.
    asked: Amount = field(default_factory=Amount)
    demand: Amount = field(default_factory=Amount)
    row_bytes: float = 0.0


class Rates:
    """Divides rates among users. Used by one thread at a time, but for `allow`.

    `total` gives the limits of all users together.
    """

    def __init__(self, total: Callable[[], Quota]) -> None:
        self._total = total
        # Of all who ever came: a session of theirs may be about to begin.
        self._quotas: dict[int, Quota] = {}
        self._users: dict[int, _User] = {}
        self._shares = Amount(math.inf, math.inf)
        self._measured_since = 0

    def allow(self, uid: int, quota: Quota) -> None:
        """Set what a user may have from now on. Any thread may call it."""
        self._quotas[uid] = quota

    def add(self, uid: int, source: CreditedSource, now: int) -> None:
        """Take care of a source of a user, and give it its first credit."""
        quota = self._quotas.get(uid, Quota())
        if uid not in self._users:
            self._users[uid] = _User(
                quota, Bucket(quota.events_per_second, now), Bucket(quota.bytes_per_second, now)
            )
        user = self._users[uid]
        user.sources[source] = now
        self._give_credit(user, now)

    def remove(self, uid: int, source: CreditedSource) -> None:
        """Forget a source. What its user owes stays for the next one."""
        self._users[uid].sources.pop(source, None)

    def charge(
        self, uid: int, source: CreditedSource, read: Amount, throttled: int, now: int
    ) -> None:
        """Account for what was read of a source, and for hits that it only counted."""
        user = self._users[uid]
        user.events.take(read.events)
        user.bytes.take(read.bytes)
        if read.events:
            user.row_bytes = read.bytes / read.events
        user.asked.add(read.events + throttled, read.bytes + throttled * user.row_bytes)
        if read.events or throttled:
            user.sources[source] = now

    def settle(self, now: int) -> None:
        """End a round: give out the tokens that have come by now."""
        if now - self._measured_since >= _MEASURED:
            self._measure(now)
        for uid, user in list(self._users.items()):
            user.quota = self._quotas.get(uid, user.quota)
            events = _least(user.quota.events_per_second, self._shares.events)
            size = _least(user.quota.bytes_per_second, self._shares.bytes)
            user.events.refill(events, now)
            user.bytes.refill(size, now)
            if user.sources:
                self._give_credit(user, now)
            elif _is_full(user.events, events) and _is_full(user.bytes, size):
                del self._users[uid]

    def reason(self, uid: int) -> str:
        """Which limit holds a user back, as far as the buckets tell."""
        user = self._users[uid]
        by_bytes = user.bytes.tokens / max(user.row_bytes, 1) < user.events.tokens
        own = user.quota.bytes_per_second if by_bytes else user.quota.events_per_second
        total = self._total().bytes_per_second if by_bytes else self._total().events_per_second
        share = self._shares.bytes if by_bytes else self._shares.events
        unit = "bytes" if by_bytes else "events"
        if own is not None and own <= share:
            return f"your limit is {own} {unit} per second, over all of your sessions"
        return (
            f"the host's limit is {total} {unit} per second for all users, "
            f"of which your share is {math.floor(min(share, total or 0))}"
        )

    def used(self, uid: int) -> tuple[int, int]:
        """Events and bytes per second that a user's sessions ask for now."""
        user = self._users.get(uid)
        return (int(user.demand.events), int(user.demand.bytes)) if user else (0, 0)

    def _measure(self, now: int) -> None:
        seconds = (now - self._measured_since) / _SECOND
        self._measured_since = now
        for user in self._users.values():
            user.demand = Amount(user.asked.events / seconds, user.asked.bytes / seconds)
            user.asked = Amount()
        total = self._total()
        for unit in fields(Amount):
            limit = getattr(total, f"{unit.name}_per_second")
            demands = (getattr(user.demand, unit.name) for user in self._users.values())
            setattr(self._shares, unit.name, fair_share(limit, demands))

    @staticmethod
    def _give_credit(user: _User, now: int) -> None:
        by_bytes = user.bytes.tokens / user.row_bytes if user.row_bytes else math.inf
        tokens = min(user.events.tokens, by_bytes, _PLENTY)
        active = sum(now - hit < _IDLE for hit in user.sources.values())
        for source in user.sources:
            source.set_credit(max(0, int(tokens / max(1, active))))


def fair_share(limit: float | None, demands: Iterable[float]) -> float:
    """What each may have of a limit at most (max-min): who wants less gets all of it.

    Infinite where all together are within the limit.
    """
    wanted = sorted(demands)
    if limit is None or sum(wanted) <= limit:
        return math.inf
    left = float(limit)
    for number, demand in enumerate(wanted):
        share = left / (len(wanted) - number)
        if demand > share:
            return share
        left -= demand
    return math.inf


def _least(own: int | None, share: float) -> float | None:
    if own is None:
        return None if math.isinf(share) else share
    return min(own, share)


def _is_full(bucket: Bucket, rate: float | None) -> bool:
    return rate is None or bucket.tokens >= rate
