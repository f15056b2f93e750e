"""ptrace-client: one file per command in commands/, errors without tracebacks."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

import click

from ptrace_client import __version__
from ptrace_client.errors import ClientError

# Each is a module of ptrace_client.commands with declare() and run(), imported when needed.
COMMANDS: Final = {
    "run": "Run a handler script on live events, or on a recording.",
    "record": "Record events into a file that perf reads, too.",
    "report": "Run a handler script on a recording.",
    "trace": "Print live events, without a script.",
    "examples": "List ready analyses, or print one.",
    "scripts": "List the scripts that have a name.",
    "list": "List the events of the host.",
    "template": "Write a script to start from.",
    "whoami": "Show what the policy allows you.",
    "status": "Show who you are to the daemon, and what it can do.",
    "sessions": "List sessions, or stop one.",
    "kill": "End sessions at once.",
    "doctor": "Check this client, the daemon and the host.",
}
# Set by a shell that completes a command line, as click's own scripts for shells do.
_COMPLETE: Final = "_PTRACE_CLIENT_COMPLETE"


class Commands(click.Group):
    """The commands, of which only the one that is called gets imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name, None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(
            f"ptrace_client.commands.{cmd_name}"
        ).declare()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def command() -> click.Group:
    """The whole of ptrace-client."""
    group = Commands(
        "ptrace-client",
        help="Trace the kernel of a host through its ptraced daemon, without root.",
        context_settings={"help_option_names": ["-h", "--help"]},
        params=[],
    )
    return click.version_option(__version__, message="ptrace-client %(version)s")(group)


def execute(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit status; errors go to stderr in plain words."""
    from ptrace_client.text import print_error

    group = command()
    try:
        # Not group.main(): that ends the process with 1 for a closed pipe.
        with group.make_context("ptrace-client", list(arguments)) as context:
            status = group.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        origin: click.Context | None = getattr(error, "ctx", None)
        path = origin.command_path if origin is not None else "ptrace-client"
        print_error(f"{error.format_message().rstrip('.')}; see `{path} -h`")
        return 2
    except ClientError as error:
        print_error(str(error))
        return error.status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader has what it wanted (`| head`): end quietly, without another attempt to
        # flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    return int(status or 0)


def main() -> None:
    """Run ptrace-client with the arguments of this process."""
    # gRPC's own log lines are for its developers; what matters comes as an error.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    asked = os.environ.get(_COMPLETE)
    if asked:
        from click.shell_completion import shell_complete

        sys.exit(shell_complete(command(), {}, "ptrace-client", _COMPLETE, asked))
    sys.exit(execute(sys.argv[1:]))
