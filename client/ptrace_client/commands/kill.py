"""ptrace-client kill: end sessions at once."""

from __future__ import annotations

from typing import Any

import click

from ptrace_client.host import connect
from ptrace_client.options import place_options, take_place


def declare() -> click.Command:
    """Declare the command's arguments."""
    return click.Command(
        "kill",
        callback=run,
        help="End sessions at once, with what waits for their clients dropped; administrators "
        "may end those of others. `sessions` lists them, and `sessions stop ID` delivers first.",
        params=[
            *place_options(),
            click.Argument(["ids"], nargs=-1, required=True, metavar="ID..."),
        ],
    )


def run(**values: Any) -> int:
    """End the sessions that are named, in their order, up to the first that is not there."""
    place = take_place(values)
    with connect(place.host, socket=place.socket, tls=place.tls) as host:
        for session_id in values["ids"]:
            host.kill(session_id)
    return 0
