"""When __interval__ is due: on the server's clock, after the data of the tick."""

from __future__ import annotations

from typing import Final

# How long after a tick to wait for the round mark that closes it, ns. Twice what the server
# lets data lie at most, and more than what a busy host adds.
GRACE: Final = 50_000_000


class Ticker:
    """Ticks every `interval` ns from `now` on, which is the server's CLOCK_MONOTONIC in ns."""

    def __init__(self, interval: int, now: int) -> None:
        self._interval = interval
        self.due = now + interval

    def wait(self, now: int) -> int:
        """Return how long to wait for messages, ns, before idle() is worth asking."""
        return max(self.due - now, 0) + GRACE

    def marked(self, time: int) -> bool:
        """Return whether a tick fires on a round mark of `time`: all before it was delivered."""
        return self._fire(time) if time >= self.due else False

    def idle(self, now: int) -> bool:
        """Return whether a tick fires as nothing has arrived since."""
        return self._fire(now) if now >= self.due + GRACE else False

    def _fire(self, at: int) -> bool:
        # Ticks that passed meanwhile are left out, the rhythm is kept.
        self.due += ((at - self.due) // self._interval + 1) * self._interval
        return True
