"""ptrace-client sessions: list them, or stop one."""

from __future__ import annotations

import time
from typing import Any

import click

from ptrace_client.host import connect
from ptrace_client.options import place_options, take_place
from ptrace_client.text import byte_size, columns, duration
from ptrace_proto import ptrace_pb2 as pb

_HEAD = ("ID", "USER", "PID", "VIA", "AGE", "DELIVERED", "LOST", "QUEUED", "LABEL", "EVENTS")
# Characters of the selectors that a line has.
_EVENTS_MAX = 200


def declare() -> click.Command:
    """Declare the command's arguments."""
    return click.Command(
        "sessions",
        callback=run,
        help="List the sessions that you may see; `stop ID` ends one, with what it traced so far.",
        params=[
            *place_options(),
            click.Argument(["words"], nargs=-1, metavar="[stop ID]"),
        ],
    )


def run(**values: Any) -> int:
    """Print a table, or stop the session that is named."""
    place = take_place(values)
    words = values["words"]
    if words and (words[0] != "stop" or len(words) != 2):
        raise click.UsageError(f"expected `stop ID`, not {' '.join(words)!r}")
    with connect(place.host, socket=place.socket, tls=place.tls) as host:
        if words:
            host.stop(words[1])
        else:
            print(*columns([_HEAD, *map(_row, host.sessions())]), sep="\n")
    return 0


def _row(session: pb.SessionInfo) -> tuple[str, ...]:
    caller = session.caller
    # Of remote callers the address, and who the certificate says they are.
    via = " ".join(filter(None, (caller.via, caller.address, caller.certificate)))
    age = time.time() - session.start_realtime / 1e9
    events = " ".join(session.selectors)
    return (
        session.session_id,
        (caller.user or str(caller.uid)) if caller.known else "?",
        str(caller.pid) if caller.known else "?",
        via or "?",
        duration(age),
        str(sum(totals.delivered for totals in session.totals)),
        str(sum(totals.lost for totals in session.totals)),
        byte_size(session.queued_bytes),
        session.label,
        events if len(events) <= _EVENTS_MAX else f"{events[:_EVENTS_MAX]}...",
    )
