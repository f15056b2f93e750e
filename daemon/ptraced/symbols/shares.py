"""CPU time that finding symbols takes, by whose processes they are of.

A stack takes microseconds, or seconds where files have to be read first that somebody has made
for that purpose. Nobody's files keep the stacks of others waiting for long.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from ptraced.symbols import proc

# Seconds that a user may have used, and what of it is forgotten in a second.
_MOST = 5.0
_FORGOTTEN = 0.2
# What takes less is not counted, seconds.
_CHEAP = 0.005
_USERS_MAX = 4096
# Those whose processes are gone, all together.
_UNKNOWN = -1


class Shares:
    """Seconds of CPU time that were spent for the processes of users, by effective uid."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        # What a user has used, and when that was so.
        self._used: dict[int, tuple[float, float]] = {}

    def may(self, pid: int) -> bool:
        """Whether there is time left for a process."""
        # Nearly always nobody has used much, and then nobody asks whose it is.
        if not any(used > _MOST for used, _ in self._used.values()):
            return True
        return self._now(_owner(pid)) <= _MOST

    def charge(self, pid: int, seconds: float) -> None:
        """Count what a stack of a process took."""
        if seconds < _CHEAP:
            return
        uid = _owner(pid)
        used = self._now(uid) + seconds
        if uid not in self._used and len(self._used) >= _USERS_MAX:
            self._used.clear()
        self._used[uid] = used, self._clock()

    def _now(self, uid: int) -> float:
        used, at = self._used.get(uid, (0.0, 0.0))
        used -= (self._clock() - at) * _FORGOTTEN
        if used <= 0:
            self._used.pop(uid, None)
        return max(used, 0.0)


def _owner(pid: int) -> int:
    try:
        return proc.owner(pid).uid
    except OSError:
        return _UNKNOWN
