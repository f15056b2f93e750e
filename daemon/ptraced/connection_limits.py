"""How many connections a user may have, and all users together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

# Places that only root gets: an administrator can look at a daemon that others have filled.
ROOT_RESERVE = 16


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The most connections of all users together, and of one user who is not root."""

    total: int
    per_user: int


class Connections:
    """Counts connections by the uid that they are for."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._of: Counter[int] = Counter()

    def enter(self, uid: int) -> str:
        """Count one more; where a limit forbids that, count nothing and return the reason."""
        if uid == 0:
            most = self._limits.total + ROOT_RESERVE
        else:
            most = self._limits.total
            if self._of[uid] >= self._limits.per_user:
                return f"too many connections of uid {uid} (limit {self._limits.per_user})"
        if self._of.total() >= most:
            return f"too many connections of all users together (limit {self._limits.total})"
        self._of[uid] += 1
        return ""

    def leave(self, uid: int) -> None:
        """Count one that `enter` counted as gone."""
        self._of[uid] -= 1
        if not self._of[uid]:
            del self._of[uid]
