"""A bound on log messages that users cause: a log that is full, or drops, hides what matters."""

from __future__ import annotations

import logging
import threading
import time

from ptraced import log
from ptraced.audit.flood import FloodGate

# Messages of a kind at once, and per second then.
_BURST = 20
_PER_SECOND = 0.1

_gate: FloodGate[str] = FloodGate()
_lock = threading.Lock()


def may_log(kind: str) -> bool:
    """Whether to log one more message of a kind; what was left out before is told then."""
    with _lock:
        if not _gate.admits(kind, _BURST, _PER_SECOND, time.monotonic()):
            return False
        left_out = _gate.left_out()
    for silenced, count in left_out.items():
        log.event("messages left out", logging.WARNING, kind=silenced, count=count)
    return True
