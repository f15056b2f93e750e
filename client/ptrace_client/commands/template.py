"""ptrace-client template: a script to start from."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import click

from ptrace_client.options import event_option, missing_event, place_options, take_place
from ptrace_client.stack_options import StackChoice, stack_options, take_stacks
from ptrace_client.template import script_template
from ptrace_proto import ptrace_pb2 as pb


def declare() -> click.Command:
    """Declare the command's arguments."""
    return click.Command(
        "template",
        callback=run,
        help="Print a script with a handler for every event and all callbacks, to start from.",
        params=[
            event_option(required=False),
            click.Option(
                ["-i", "--input"],
                metavar="FILE",
                help="The events of this perf.data file, or of `-`: those of -e, or all.",
            ),
            click.Option(
                ["--dialect"],
                type=click.Choice(["perf-prof", "perf-script"]),
                default="perf-prof",
                show_default=True,
                help="Whose scripts it is to look like.",
            ),
            *stack_options(),
            *place_options(),
        ],
    )


def run(**values: Any) -> int:
    """Print the template of the selected events."""
    place, stacks, perf_script = (
        take_place(values),
        take_stacks(values),
        values["dialect"] == "perf-script",
    )
    if values["input"] is not None:
        print_recording_template(values["input"], values["events"], perf_script)
        return 0
    if not values["events"]:
        raise missing_event()
    from ptrace_client.host import connect

    with connect(place.host, socket=place.socket, tls=place.tls) as host:
        schemas = host.describe(values["events"], stacks=stacks.request())
        stacks.check(schemas)
        if perf_script:
            _print_perf_script(schemas)
        else:
            print_template(schemas, values["events"], stacks)
    return 0


def print_template(
    schemas: Sequence[pb.EventSchema], selectors: Sequence[str], stacks: StackChoice
) -> None:
    """Print the template for events that were selected by `selectors`, with `stacks`."""
    options = [word for selector in selectors for word in ("-e", selector)]
    command = shlex.join(["ptrace-client", "run", *options, *stacks.words()])
    print(script_template(schemas, command), end="")


def _print_perf_script(schemas: Sequence[pb.EventSchema]) -> None:
    from ptrace_client.perf_script.template import schema_formats, starter_script

    formats = schema_formats(schemas)
    print(starter_script(formats, sampled=len(formats) < len(schemas)), end="")


def print_recording_template(path: str, selectors: Sequence[str], perf_script: bool) -> None:
    """Print the template of a recording's events ("-": stdin), in either dialect."""
    from ptrace_client.perf_data.recording import open_recording
    from ptrace_client.perf_data.selection import sampled_events
    from ptrace_client.perf_data.stream import described_events
    from ptrace_client.perf_script.template import starter_script

    recording = open_recording(path)
    try:
        if not perf_script:
            options = [word for selector in selectors for word in ("-e", selector)]
            command = shlex.join(["ptrace-client", "run", "-i", path, *options])
            print(script_template(described_events(recording, selectors), command), end="")
            return
        events = sampled_events(recording, selectors)
        chosen = {event.format.id for event in events if event.format is not None}
        # As perf does it: of all that the recording describes, in that order.
        known = recording.tracing.formats.values() if recording.tracing is not None else ()
        formats = [format for format in known if format.id in chosen or not selectors]
        sampled = any(event.format is None for event in events)
        print(starter_script(formats, sampled=sampled), end="")
    finally:
        recording.close()
