"""Work that keeps the interpreter busy: of each user one piece at a time, however many ask."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Queue:
    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: int = 0


class OneAtATime:
    """A lock for each user who has something to do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: dict[int, _Queue] = {}

    @contextmanager
    def turn_of(self, uid: int) -> Iterator[None]:
        """Work for a user, when what it had asked for before is done."""
        with self._lock:
            queue = self._users.setdefault(uid, _Queue())
            queue.waiting += 1
        try:
            with queue.lock:
                yield
        finally:
            with self._lock:
                queue.waiting -= 1
                if not queue.waiting:
                    del self._users[uid]
