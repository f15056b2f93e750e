"""ptrace-client run: a handler script on live events."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ptrace_client.chosen_events import choose_events
from ptrace_client.commands.template import print_recording_template, print_template
from ptrace_client.input_options import input_options, take_dialect, take_input
from ptrace_client.options import (
    Selection,
    limit_options,
    place_options,
    selection_options,
    take_place,
    take_selection,
)
from ptrace_client.output import redirect_output
from ptrace_client.perf_script.dialect import choose_dialect
from ptrace_client.perf_script.options import PERF_SCRIPT
from ptrace_client.reconnect import Reconnect, reconnect_option
from ptrace_client.request import check_buffer_pages, trace_request
from ptrace_client.run_command import RunCommand
from ptrace_client.runner import RunOptions, run_script
from ptrace_client.script import load_script
from ptrace_client.script_errors import EndRun
from ptrace_client.syscall_names import set_traced_machine
from ptrace_client.targets import RunScript
from ptrace_client.traced_command import check_host, trace_command
from ptrace_proto import ptrace_pb2 as pb

if TYPE_CHECKING:
    from ptrace_client.host import Host

_NS_PER_MS = 1_000_000


def declare() -> click.Command:
    """Declare the command's arguments."""
    return RunCommand(
        "run",
        callback=run,
        help="Run the handler script MODULE (a file, a name of `ptrace-client scripts`, or a "
        "module's name) on live events, or on a recording (-i). Without -e the events are those "
        "that the script is made for. @NAME is an example, with options of its own for what is "
        "not given. `help` in its place prints a template. Behind `--` all arguments are the "
        "script's; behind the name of a script, `[ARGS] -- COMMAND` traces a command to its end.",
        params=[
            *selection_options(required=False),
            *input_options(),
            *limit_options(),
            reconnect_option(),
            click.Option(["--all-fields"], is_flag=True, help="Ask for fields not used, too."),
            click.Option(
                ["--strict"],
                is_flag=True,
                help="A handler's exception ends the run; perf's dialect, where it always does: "
                "handlers are bound by perf's exact rule.",
            ),
            click.Option(["-q", "--quiet"], is_flag=True, help="No messages but errors."),
            click.Option(["-v", "--verbose"], count=True, help="More messages."),
            *place_options(),
            click.Argument(["script"], nargs=-1, required=True, metavar="MODULE [ARGS]..."),
        ],
    )


def run(**values: Any) -> int:
    """Run the script, or print a template, and return the exit status."""
    place, selection = take_place(values), take_selection(values)
    check_buffer_pages(selection.mmap_pages)
    output = values.pop("output")
    module, *arguments = values.pop("script")
    source, dialect = take_input(values), take_dialect(values)
    if source.path is not None:
        from ptrace_client.commands.run_recording import run_on_recording
        from ptrace_client.commands.run_stream import check_recorded

        check_recorded(selection, values["duration"])
        if output is not None:
            redirect_output(output)
        if module == "help":
            is_perf_script = dialect.dialect == PERF_SCRIPT
            print_recording_template(source.path, selection.events, is_perf_script)
            return 0
        del values["reconnect"], values["command"]
        own = RunOptions(interval_ms=source.interval_ms, **values)
        return run_on_recording(source.path, module, arguments, dialect, selection.events, own)
    # What reads recordings has no use for gRPC, which takes its time to be imported.
    from ptrace_client.embedded import open_host

    reconnect = Reconnect(place, values.pop("reconnect"))
    with contextlib.ExitStack() as stack:
        command, selection = trace_command(stack, values.pop("command"), selection)
        options = RunOptions(
            interval_ms=source.interval_ms,
            order=selection.order,
            command=command,
            **values,
        )
        host = stack.enter_context(
            open_host(place.host, place.socket, tls=place.tls, show_log=options.verbose > 0)
        )
        if command is not None:
            check_host(host)
        set_traced_machine(host.info.machine)
        selection = choose_events(host, selection, module, quiet=options.quiet)
        schemas = selection.described(host)
        # Only now: a wrong selector is told to the user, not to the file.
        if output is not None:
            redirect_output(output)
        if module == "help":
            print_template(schemas, selection.events, selection.stacks)
            return 0
        # What is loaded by now stays to the end, where the collector would look through it all, for
        # 15 to 35 ms. Not so what the script makes: its open files are written when they go.
        gc.freeze()
        if choose_dialect(module, dialect.dialect) == PERF_SCRIPT:
            from ptrace_client.perf_live.load import load_live

            try:
                live = load_live(module, arguments, dialect, host, selection, schemas)
            except EndRun as end:
                return end.status
            script: RunScript = live.script
            selection, schemas = live.selection, live.schemas
        else:
            script = load_script(module, arguments)
        label = os.path.basename(module)
        return run_on(host, script, schemas, selection, options, label, reconnect)


def run_on(
    host: Host,
    script: RunScript,
    schemas: Sequence[pb.EventSchema],
    selection: Selection,
    options: RunOptions,
    label: str,
    reconnect: Reconnect,
) -> int:
    """Run `script` on the events of `selection`, which `schemas` describe; return the status.

    `label` names the run in the daemon's list of sessions.
    """
    mark_intervals = [(options.interval_ms or 0) * _NS_PER_MS, reconnect.mark_interval]
    request = trace_request(
        selection.events,
        projections=script.projections(schemas, options.all_fields),
        # The runner then knows at every tick how far it has got.
        mark_interval=min(filter(None, mark_intervals), default=0),
        label=label,
        **selection.scope(),
    )
    reconnector = reconnect.reconnector(host, request)
    return run_script(script, lambda: host.open(request), options, reconnector)
