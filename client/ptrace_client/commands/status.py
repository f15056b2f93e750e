"""ptrace-client status: who is calling, and what the daemon can do."""

from __future__ import annotations

from typing import Any

import click

from ptrace_client import __version__
from ptrace_client.host import Host, connect
from ptrace_client.options import place_options, take_place
from ptrace_client.text import byte_size, columns, number_ranges
from ptrace_proto import ptrace_pb2 as pb


def declare() -> click.Command:
    """Declare the command's arguments."""
    return click.Command(
        "status",
        callback=run,
        help="Show who you are to the daemon, its version, features and limits.",
        params=place_options(),
    )


def run(**values: Any) -> int:
    """Print a line for each."""
    place = take_place(values)
    with connect(place.host, socket=place.socket, tls=place.tls) as host:
        print(*columns(status_rows(host)), sep="\n")
    return 0


def status_rows(host: Host) -> list[tuple[str, str]]:
    """Return what the daemon says about itself, as (name, text)."""
    info = host.info
    return [
        ("client", f"ptrace-client {__version__}"),
        ("daemon", f"ptraced {info.version} at {host.endpoint}, contract v1.{info.api_minor}"),
        ("host", f"{info.hostname}, kernel {info.kernel_release}, {info.machine}"),
        ("cpus", number_ranges(info.online_cpus)),
        ("you", _caller(info.caller)),
        ("features", ", ".join(sorted(info.features))),
        ("limits", _limits(info.limits)),
    ]


def _caller(caller: pb.Caller) -> str:
    if not caller.known:
        return "not known: this transport does not tell"
    return f"{caller.user or 'without a name'} (uid {caller.uid}, gid {caller.gid})"


def _limits(limits: pb.Limits) -> str:
    return (
        f"{limits.sessions} sessions, {limits.events_per_session} events in each, "
        f"{byte_size(limits.queue_bytes)} queued, {limits.buffer_pages} pages per buffer, "
        f"filters of {byte_size(limits.filter_bytes)}"
    )
