"""ptrace-client report: a handler script on what `record` has recorded."""

from __future__ import annotations

from typing import Any

import click

from ptrace_client.commands.run_recording import run_on_recording
from ptrace_client.input_options import dialect_options, take_dialect
from ptrace_client.options import event_option
from ptrace_client.output import redirect_output
from ptrace_client.run_command import COMMAND, RunCommand
from ptrace_client.runner import RunOptions


def declare() -> click.Command:
    """Declare the command's arguments."""
    return RunCommand(
        "report",
        callback=run,
        help="Run SCRIPT, a file or a name of `ptrace-client scripts`, on a recording: the same as "
        "`run -i perf.data SCRIPT`. Behind `--` all arguments are the script's.",
        params=[
            click.Option(
                ["-i", "--input", "input_path"],
                default="perf.data",
                show_default=True,
                metavar="FILE",
                help="The recording; - is stdin.",
            ),
            event_option(required=False),
            *dialect_options(),
            click.Option(["--strict"], is_flag=True, help="Bind handlers by perf's exact rule."),
            click.Option(["-q", "--quiet"], is_flag=True, help="No messages but errors."),
            click.Option(
                ["-o", "--output"], metavar="FILE", help="Append stdout and stderr to FILE."
            ),
            click.Argument(["script"], nargs=-1, required=True, metavar="SCRIPT [ARGS]..."),
        ],
    )


def run(**values: Any) -> int:
    """Run the script and return the exit status."""
    # Behind a script for a recording, `--` begins no command.
    del values[COMMAND]
    output, path = values.pop("output"), values.pop("input_path")
    module, *arguments = values.pop("script")
    dialect = take_dialect(values)
    if output is not None:
        redirect_output(output)
    options = RunOptions(strict=values["strict"], quiet=values["quiet"])
    return run_on_recording(path, module, arguments, dialect, values["events"], options)
