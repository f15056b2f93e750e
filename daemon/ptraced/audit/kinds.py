"""What is audited; docs/audit.md lists the fields of each."""

from __future__ import annotations

import logging
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of line.

    `message_id` is MESSAGE_ID of systemd.journal-fields(7). Of each user `burst` lines are
    written at once, then `per_second`; what goes beyond is counted.
    """

    name: str
    message_id: str
    level: int = logging.INFO
    burst: int = 100
    per_second: float = 1.0


CONNECT = Kind("connect", "347fc92316124b53a7ad39efc3a3969e")
DISCONNECT = Kind("disconnect", "63eedfb07a784dadaf063e1cfb12146a")
REFUSED = Kind("refused", "8d873b673bb841f88c632af3e2eb784e", logging.WARNING)
SESSION_START = Kind("session-start", "ea8a131e6d624b9fae36b89bb3a5473f", burst=1000, per_second=10)
SESSION_STOP = Kind("session-stop", "5132e0613e684b109770de696fa9ee37", burst=1000, per_second=10)
DENIED = Kind("denied", "f4a93d8b899043619e1addfe90f24fe9", logging.WARNING)
THROTTLE_START = Kind("throttle-start", "24704bb451c94c0eb817f1076749e81b")
THROTTLE_STOP = Kind("throttle-stop", "4f23e834f87e4d329f175a56e4b873eb")
KILL = Kind("kill", "63a0033befe445ae91c703da4e6fcb25", logging.WARNING)
POLICY_RELOAD = Kind("policy-reload", "1a8830e1d7364086a1dcb7337a36817b", burst=1000, per_second=10)
# Lines of another kind that were too many.
LEFT_OUT = Kind(
    "left-out", "559ff66f6cf540f1992906efa7e0d88d", logging.WARNING, burst=1000, per_second=10
)

FRONT = {kind.name: kind for kind in (CONNECT, DISCONNECT, REFUSED)}
