"""ptrace-client sessions: list them, or stop one."""

from __future__ import annotations

import time
from typing import Any

import click

from ptrace_client.host import connect
from ptrace_client.options import place_options, take_place
from ptrace_client.text import byte_size, columns
from ptrace_proto import ptrace_pb2 as pb

_HEAD = ("ID", "USER", "PID", "STARTED", "DELIVERED", "LOST", "QUEUED", "LABEL", "EVENTS")


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
    with connect(place.host, socket=place.socket) as host:
        if words:
            host.stop(words[1])
        else:
            print(*columns([_HEAD, *map(_row, host.sessions())]), sep="\n")
    return 0


def _row(session: pb.SessionInfo) -> tuple[str, ...]:
    caller = session.caller
    started = time.localtime(session.start_realtime // 1_000_000_000)
    return (
        session.session_id,
        (caller.user or str(caller.uid)) if caller.known else "?",
        str(caller.pid) if caller.known else "?",
        time.strftime("%Y-%m-%d %H:%M:%S", started),
        str(sum(totals.delivered for totals in session.totals)),
        str(sum(totals.lost for totals in session.totals)),
        byte_size(session.queued_bytes),
        session.label,
        " ".join(session.selectors),
    )
