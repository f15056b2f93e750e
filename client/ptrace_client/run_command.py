"""The command line of `run` and `report`: whose words are whose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from ptrace_client.arguments import split_at_dashes
from ptrace_client.errors import ClientError
from ptrace_client.perf_script.dialect import choose_dialect
from ptrace_client.perf_script.options import PERF_SCRIPT
from ptrace_client.printing import terminal_safe
from ptrace_client.reconnect import spelled_out
from ptrace_client.script_names import find_named, with_suffix

if TYPE_CHECKING:
    from ptrace_client.perf_script.catalogue import CatalogueScript

# Where the words of the command to trace are among the values.
COMMAND: Final = "command"


class RunCommand(click.Command):
    """A command whose options may also stand behind the script.

    The values have `command`, the words of a program to trace, too.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what is run's own; all the rest is the script and its arguments.

        The first line of an example has the defaults for what is not given. Behind the name of
        a script of the catalogue, as `perf script NAME` has it, `--` begins the command to trace.
        """
        own, script, behind = split_at_dashes(spelled_out(args), self.get_params(ctx))
        if not script:
            script, behind = behind or [], None
        named = None
        if script and script[0].startswith("@"):
            from ptrace_client.analyses import find_analysis

            example = find_analysis(script[0])
            script[0] = str(example.path)
            ctx.default_map, _, _ = self.make_parser(ctx).parse_args(example.options)
        elif script:
            named = find_named(script[0])
            script[0] = str(named.path) if named is not None else with_suffix(script[0])
        left = super().parse_args(ctx, [*own, "--", *script, *(behind or [])])
        ctx.params[COMMAND] = ()
        if named is not None and behind is not None and not _is_recording(ctx.params):
            arguments, command = _at_last_dashes(behind)
            ctx.params["script"] = (*script, *arguments)
            ctx.params[COMMAND] = _checked(named, command)
        elif behind is not None and len(script) > 1 and _is_perf_script(script[0], ctx.params):
            # perf takes these words as they are, behind the first argument.
            ctx.params["script"] = (*script, "--", *behind)
        if named is not None and len(ctx.params["script"]) <= named.required_arguments:
            raise ClientError(f"{named.name} needs arguments: {terminal_safe(named.arguments)}")
        return left


def _is_perf_script(script: str, values: dict[str, Any]) -> bool:
    try:
        return choose_dialect(script, values.get("dialect")) == PERF_SCRIPT
    except ClientError:
        # Whoever runs it says so.
        return False


def _is_recording(values: dict[str, Any]) -> bool:
    """Whether -i names a file; with a number it is --interval."""
    short = values.get("short_input")
    return bool(values.get("input_path")) or bool(short and not short.isdecimal())


def _at_last_dashes(words: list[str]) -> tuple[list[str], list[str]]:
    """Split `ARGS -- COMMAND`; without dashes all is the command."""
    if "--" not in words:
        return [], words
    place = words.index("--")
    return words[:place], words[place + 1 :]


def _checked(script: CatalogueScript, command: list[str]) -> tuple[str, ...]:
    if not command:
        raise ClientError("there is no command behind the --")
    if script.is_top:
        raise ClientError(
            f"{script.name} shows all tasks until it is interrupted: it takes no command"
        )
    return tuple(command)
