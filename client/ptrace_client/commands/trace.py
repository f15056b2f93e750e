"""ptrace-client trace: live events as lines of text."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any

import click

from ptrace_client.commands.run import run_on
from ptrace_client.embedded import open_host
from ptrace_client.options import (
    limit_options,
    missing_event,
    place_options,
    selection_options,
    take_place,
    take_selection,
)
from ptrace_client.output import redirect_output
from ptrace_client.reconnect import Reconnect, reconnect_option, spelled_out
from ptrace_client.request import check_buffer_pages
from ptrace_client.runner import RunOptions
from ptrace_client.script import Script


class TraceCommand(click.Command):
    """A command with --reconnect."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line."""
        return super().parse_args(ctx, spelled_out(args))


def declare() -> click.Command:
    """Declare the command's arguments."""
    return TraceCommand(
        "trace",
        callback=run,
        help="Print live events, one a line, until Ctrl-C, or those of a recording (-i). What was "
        "lost is told on stderr.",
        params=[
            *selection_options(required=False),
            click.Option(
                ["-i", "--input"],
                metavar="FILE",
                help="Print the events of this perf.data file (-: stdin): those of -e, or all.",
            ),
            *limit_options(),
            reconnect_option(),
            *place_options(),
        ],
    )


def run(**values: Any) -> int:
    """Print events and return the exit status."""
    place, selection = take_place(values), take_selection(values)
    check_buffer_pages(selection.mmap_pages)
    output, recording = values.pop("output"), values.pop("input")
    if recording is None and not selection.events:
        raise missing_event()
    reconnect = Reconnect(place, values.pop("reconnect"))
    options = RunOptions(
        interval_ms=None,
        order=selection.order,
        strict=False,
        quiet=False,
        verbose=0,
        all_fields=True,
        **values,
    )
    if recording is not None:
        from ptrace_client.commands.run_stream import check_recorded

        check_recorded(selection, options.duration)
        if output is not None:
            redirect_output(output)
        return _print_recording(recording, selection.events, options)
    with open_host(place.host, place.socket, tls=place.tls) as host:
        schemas = selection.described(host)
        if output is not None:
            redirect_output(output)
        return run_on(host, _printing_script(), schemas, selection, options, "trace", reconnect)


def _print_recording(path: str, selectors: Sequence[str], options: RunOptions) -> int:
    from ptrace_client.commands.run_stream import run_on_stream
    from ptrace_client.perf_data.recording import open_recording
    from ptrace_client.perf_symbols.machine import open_machine

    recording = open_recording(path)
    try:
        machine = open_machine(recording, sane=True)
        try:
            return run_on_stream(recording, machine, _printing_script(), selectors, options)
        finally:
            machine.close()
    finally:
        recording.close()


def _printing_script() -> Script:
    module = types.ModuleType("trace")
    vars(module)["__sample__"] = lambda event: event.print()
    script = Script(module)
    # Nothing of the user's was loaded: no "Loaded module" among the events.
    script.path = ""
    return script
