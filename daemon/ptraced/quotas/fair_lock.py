"""A lock for which users queue up side by side: who asks often does not hold up who asks once."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager


class FairLock:
    """One holder at a time; users (uids) who wait take turns, each with its own queue."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = False
        # In the order of their turns.
        self._waiting: OrderedDict[int, deque[threading.Event]] = OrderedDict()

    @contextmanager
    def turn_of(self, uid: int) -> Iterator[None]:
        """Hold the lock for a user, when it is its turn."""
        turn = threading.Event()
        with self._lock:
            if self._held:
                self._waiting.setdefault(uid, deque()).append(turn)
            else:
                self._held = True
                turn.set()
        turn.wait()
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        with self._lock:
            if not self._waiting:
                self._held = False
                return
            uid, turns = self._waiting.popitem(last=False)
            turns.popleft().set()
            if turns:
                self._waiting[uid] = turns
