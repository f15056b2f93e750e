"""ptrace-client template: a script to start from."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import click

from ptrace_client.host import connect
from ptrace_client.options import event_option, place_options, take_place
from ptrace_client.stack_options import StackChoice, stack_options, take_stacks
from ptrace_client.template import script_template
from ptrace_proto import ptrace_pb2 as pb


def declare() -> click.Command:
    """Declare the command's arguments."""
    return click.Command(
        "template",
        callback=run,
        help="Print a script with a handler for every event and all callbacks, to start from.",
        params=[event_option(), *stack_options(), *place_options()],
    )


def run(**values: Any) -> int:
    """Print the template of the selected events."""
    place, stacks = take_place(values), take_stacks(values)
    with connect(place.host, socket=place.socket, tls=place.tls) as host:
        schemas = host.describe(values["events"], stacks=stacks.request())
        stacks.check(schemas)
        print_template(schemas, values["events"], stacks)
    return 0


def print_template(
    schemas: Sequence[pb.EventSchema], selectors: Sequence[str], stacks: StackChoice
) -> None:
    """Print the template for events that were selected by `selectors`, with `stacks`."""
    options = [word for selector in selectors for word in ("-e", selector)]
    command = shlex.join(["ptrace-client", "run", *options, *stacks.words()])
    print(script_template(schemas, command), end="")
