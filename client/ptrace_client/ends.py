"""How sessions end before their time, and what the client's exit status then is."""

from __future__ import annotations

from typing import Final

from ptrace_client.errors import ClientError
from ptrace_proto import ptrace_pb2 as pb

# Exit statuses, see docs/client.md: something failed; somebody, or the policy, ended the session;
# the connection broke off.
FAILED: Final = 1
ENDED: Final = 3
BROKEN_OFF: Final = 4

# Reason: what the user is told, and the status.
_EARLY: Final[dict[int, tuple[str, int]]] = {
    pb.END_REASON_SHUTDOWN: ("the server ended the session", FAILED),
    pb.END_REASON_FAILED: ("the server ended the session", FAILED),
    pb.END_REASON_KILLED: ("the session was killed", ENDED),
    pb.END_REASON_OVER_BUDGET: ("the session cost more than its budget", ENDED),
    pb.END_REASON_NOT_ALLOWED: ("the policy does not allow the session any more", ENDED),
}


class LostConnection(ClientError):
    """The stream broke off without its end: the daemon died, or the way to it."""

    def __init__(self, text: str) -> None:
        super().__init__(text, BROKEN_OFF, transient=True)


def exit_status(end: pb.End | None) -> int:
    """Return 0 for a session that ended as it should, else the exit status."""
    return _EARLY[end.reason][1] if end is not None and end.reason in _EARLY else 0


def explain_end(end: pb.End) -> str:
    """Return a sentence about a session that ended before its time, else ""."""
    if end.reason not in _EARLY:
        return ""
    what, _ = _EARLY[end.reason]
    return f"{what}: {end.text or 'no reason given'}"
