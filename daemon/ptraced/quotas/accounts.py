"""What each user holds of the host, and all users together: reserved before it is made."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

from ptraced.errors import LimitExceeded
from ptraced.policy.grant import Quota

# What can be held, as Quota names it: how it is called, and how to come by with less.
_KINDS = {
    "sessions": ("session", "end one first"),
    "programs": ("program", "select fewer events"),
    "probes": ("place of probes", "select fewer probes"),
    "buffer_bytes": ("byte of kernel buffers", "ask for smaller buffers, or select fewer events"),
}
# Timers that sample, on all CPUs: each run interrupts whatever is at work there, before it is known
# whose task that is. Who may see so many events per second may have that many.
_SAMPLES = "samples"
_SAMPLES_LIMIT = "events_per_second"
_NAMES = {
    **_KINDS,
    _SAMPLES: ("sample per second", "sample less often, or on fewer CPUs"),
}
_PLURALS = {
    "sample per second": "samples per second",
    "place of probes": "places of probes",
    "byte of kernel buffers": "bytes of kernel buffers",
}


@dataclass(frozen=True, slots=True)
class Holding:
    """What a session holds besides itself; `buffer_bytes` and `samples` (per second, of timers)
    over all CPUs.
    """

    programs: int = 0
    probes: int = 0
    buffer_bytes: int = 0
    samples: int = 0


class Accounts:
    """The books of all users. What sessions share is counted for each of them.

    `total` limits all users together, and may be set anew at any time.
    """

    def __init__(self, total: Quota | None = None) -> None:
        self.total = total or Quota()
        self._lock = threading.Lock()
        self._users: dict[int, Counter[str]] = {}
        self._all: Counter[str] = Counter()

    def open(self, uid: int, quota: Quota) -> Account:
        """An account for one more session of a user; LimitExceeded where there are too many."""
        account = Account(self, uid, quota)
        self.take(account, {"sessions": 1})
        return account

    def used(self, uid: int) -> Quota:
        """What a user holds now; None where that is nothing one holds."""
        with self._lock:
            held = self._users.get(uid, Counter())
            return Quota(**{kind: held[kind] for kind in _KINDS})

    def held(self) -> dict[int | None, Counter[str]]:
        """What each user holds now."""
        with self._lock:
            return {uid: Counter(held) for uid, held in self._users.items()}

    def take(self, account: Account, amounts: dict[str, int]) -> None:
        """Reserve all of `amounts` or, with LimitExceeded, nothing."""
        with self._lock:
            held = self._users.get(account.uid, Counter())
            for kind, amount in amounts.items():
                limit = _SAMPLES_LIMIT if kind == _SAMPLES else kind
                _check(kind, amount, held[kind], getattr(account.quota, limit), "your")
                _check(kind, amount, self._all[kind], getattr(self.total, limit), "the host's")
            self._users.setdefault(account.uid, held).update(amounts)
            self._all.update(amounts)
            account.held.update(amounts)

    def give_back(self, account: Account) -> None:
        """Give back all that an account holds; once more does nothing."""
        with self._lock:
            given, account.held = account.held, Counter()
            self._all -= given
            held = self._users.get(account.uid, Counter()) - given
            if held:
                self._users[account.uid] = held
            else:
                self._users.pop(account.uid, None)


@dataclass(eq=False, slots=True)
class Account:
    """What one session holds. Give it back by `close`, however the session ends."""

    accounts: Accounts
    uid: int
    quota: Quota
    held: Counter[str] = field(default_factory=Counter)

    def reserve(self, holding: Holding) -> None:
        """Reserve what a plan needs before it is made; raises LimitExceeded."""
        self.accounts.take(
            self,
            {
                "programs": holding.programs,
                "probes": holding.probes,
                "buffer_bytes": holding.buffer_bytes,
                _SAMPLES: holding.samples,
            },
        )

    def close(self) -> None:
        self.accounts.give_back(self)


def _check(kind: str, amount: int, held: int, limit: int | None, whose: str) -> None:
    if limit is None or not amount or held + amount <= limit:
        return
    name, advice = _NAMES[kind]
    raise LimitExceeded(
        f"error: {_counted(amount, name)} more would be over {whose} limit of "
        f"{_counted(limit, name)}, of which {held} {'is' if held == 1 else 'are'} in use; {advice}"
    )


def _counted(number: int, name: str) -> str:
    return f"{number} {name if number == 1 else _PLURALS.get(name, f'{name}s')}"
