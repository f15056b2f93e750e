"""ptrace-client list: the events of a host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from ptrace_client.decode import source_name
from ptrace_client.errors import ClientError
from ptrace_client.host import Host, connect
from ptrace_client.options import place_options, take_place
from ptrace_client.printing import terminal_safe
from ptrace_client.report import one_line
from ptrace_client.text import columns
from ptrace_proto import ptrace_pb2 as pb


def declare() -> click.Command:
    """Declare the command's arguments."""
    return click.Command(
        "list",
        callback=run,
        help="List the events that match any GLOB over sys:name, or over the names of sampled "
        "events; `sched` means `sched:*`.",
        params=[
            click.Option(["-l", "--long"], is_flag=True, help="Also ids and fields."),
            *place_options(),
            click.Argument(["globs"], nargs=-1, metavar="[GLOB]..."),
        ],
    )


def run(**values: Any) -> int:
    """Print one event a line; nothing that matches is an error, as a misspelt name is."""
    place = take_place(values)
    with connect(place.host, socket=place.socket, tls=place.tls) as host:
        names = host.list_events(*values["globs"])
        if not names:
            raise ClientError(f"no event matches {one_line(' '.join(values['globs'])) or '*'}")
        lines = columns(_rows(host, names)) if values["long"] else names
    print(*map(terminal_safe, lines), sep="\n")
    return 0


def _rows(host: Host, names: Sequence[str]) -> list[tuple[str, str, str]]:
    # Sampled events have members by what is asked for, and some are none without an address.
    plain = [name for name in names if ":" in name]
    rows = [*map(_row, host.describe(plain) if plain else ())]
    return [*rows, *((name, "-", "sampled") for name in names if ":" not in name)]


def _row(schema: pb.EventSchema) -> tuple[str, str, str]:
    fields = ", ".join(f"{field.type} {field.name}" for field in schema.all_fields)
    return source_name(schema), str(schema.common_type), fields
