"""Places of programs at tracepoints: the kernel has few at each, for all users together."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Mapping

from ptraced.errors import LimitExceeded

# BPF_TRACE_MAX_PROGS in kernel/trace/bpf_trace.c.
PLACES = 64


class TracepointPlaces:
    """Places by tracepoint. At each a user may hold as many as are left over for others.

    One user can so have half of them, two users two thirds, and there is always one for the next.
    """

    def __init__(self, places: int = PLACES) -> None:
        self._places = places
        self._lock = threading.Lock()
        # By tracepoint, then by user.
        self._held: defaultdict[str, Counter[int]] = defaultdict(Counter)

    def take(self, uid: int, wanted: Mapping[str, int]) -> None:
        """Take so many places at each tracepoint; raises LimitExceeded, and takes none then."""
        with self._lock:
            for name, count in wanted.items():
                held = self._held[name]
                left = self._places - held.total() - count
                if held[uid] + count > left:
                    raise LimitExceeded(
                        f"error: the kernel runs at most {self._places} programs on a tracepoint, "
                        f"and on {name} you have {held[uid]}: more would leave too few to others; "
                        "end sessions with it, or select it less often"
                    )
            for name, count in wanted.items():
                self._held[name][uid] += count

    def give_back(self, uid: int, wanted: Mapping[str, int]) -> None:
        """Give back what was taken."""
        with self._lock:
            for name, count in wanted.items():
                left = self._held[name] - Counter({uid: count})
                if left:
                    self._held[name] = left
                else:
                    del self._held[name]
