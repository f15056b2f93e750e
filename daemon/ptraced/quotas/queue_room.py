"""The memory that all queues have together, so that slow clients are not the daemon's death."""

from __future__ import annotations

import threading
from collections import Counter


class QueueRoom:
    """So many bytes for all queues. A user may hold at most as many as are left over.

    One user can so fill half of it, two users two thirds, and something is always left for the
    next (Choudhury and Hahne, "Dynamic Queue Length Thresholds", 1998).
    """

    def __init__(self, most_bytes: int) -> None:
        self._left = most_bytes
        self._held: Counter[int] = Counter()
        self._lock = threading.Lock()

    def take(self, uid: int, size: int) -> bool:
        """Reserve bytes for a user; False where there is no room for them."""
        with self._lock:
            if self._held[uid] + size > self._left - size:
                return False
            self._held[uid] += size
            self._left -= size
            return True

    def give_back(self, uid: int, size: int) -> None:
        with self._lock:
            self._left += size
            self._held[uid] -= size
            if not self._held[uid]:
                del self._held[uid]

    def share(self, uid: int) -> Share:
        """The room as a queue of a user sees it."""
        return Share(self, uid)


class Share:
    """What queues of one user take of a room."""

    def __init__(self, room: QueueRoom, uid: int) -> None:
        self._room = room
        self._uid = uid

    def take(self, size: int) -> bool:
        """Reserve bytes; False where there is no room for them."""
        return self._room.take(self._uid, size)

    def give_back(self, size: int) -> None:
        self._room.give_back(self._uid, size)
