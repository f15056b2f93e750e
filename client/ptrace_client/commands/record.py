"""ptrace-client record: events into a file that perf reads, too."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import click

from ptrace_client.arguments import split_before_word
from ptrace_client.chosen_events import choose_events
from ptrace_client.embedded import open_host
from ptrace_client.errors import ClientError
from ptrace_client.options import place_options, selection_options, take_place, take_selection
from ptrace_client.perf_script.catalogue import no_script
from ptrace_client.perf_writing.record import record
from ptrace_client.request import check_buffer_pages
from ptrace_client.script_names import find_named, with_suffix
from ptrace_client.traced_command import TracedCommand, check_host


class RecordCommand(click.Command):
    """A command behind whose options the words of another one stand, maybe behind a `--`.

    The values have `script`, too: the path of the script that says what to record.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what stands before the first word that is no option; the rest is the command's.

        Without -e that word is the script, and options may also follow it.
        """
        parameters = self.get_params(ctx)
        own, words = split_before_word(args, parameters)
        script = None
        if words and not self._has_events(ctx, own):
            script = _find_script(words[0])
            more, words = split_before_word(words[1:], parameters)
            own += more
        left = super().parse_args(ctx, [*own, "--", *words])
        if script is None and not ctx.params["events"]:
            raise ClientError("say what to record: -e EVENT, or a SCRIPT that is made for events")
        ctx.params["script"] = script
        return left

    def _has_events(self, ctx: click.Context, words: list[str]) -> bool:
        given, _, _ = self.make_parser(ctx).parse_args(list(words))
        return "events" in given


def _find_script(name: str) -> str:
    """Return the path of the script of a name, or in a file. Raise ClientError without one."""
    script = find_named(name)
    if script is not None:
        return str(script.path)
    path = with_suffix(name)
    if os.path.isfile(path):
        return path
    raise no_script(name)


def declare() -> click.Command:
    """Declare the command's arguments."""
    return RecordCommand(
        "record",
        callback=run,
        help="Record events into FILE, which `perf script`, `perf report` and `ptrace-client run "
        "-i FILE` read. In place of -e EVENT a SCRIPT may say what it is made for: a file, or a "
        "name of `ptrace-client scripts`. Without a COMMAND it goes on until Ctrl-C.",
        params=[
            *selection_options(required=False),
            click.Option(
                ["-o", "--output"],
                default="perf.data",
                show_default=True,
                metavar="FILE",
                help="Where to; - is stdout, for a pipe.",
            ),
            click.Option(
                ["-a", "--all-cpus", "all_tasks"],
                is_flag=True,
                help="All tasks that you may see, while COMMAND runs.",
            ),
            click.Option(
                ["--duration"],
                type=click.FloatRange(min=0, min_open=True),
                metavar="SECONDS",
                help="End after this time.",
            ),
            click.Option(["-q", "--quiet"], is_flag=True, help="No messages but errors."),
            *place_options(),
            click.Argument(["command"], nargs=-1, metavar="[SCRIPT] [--] [COMMAND]..."),
        ],
    )


def run(**values: Any) -> int:
    """Record, and return the exit status."""
    place, selection = take_place(values), take_selection(values)
    check_buffer_pages(selection.mmap_pages)
    words, output, script = values.pop("command"), values.pop("output"), values.pop("script")
    with contextlib.ExitStack() as undo:
        # Before there are threads.
        command = undo.enter_context(TracedCommand(words)) if words else None
        host = undo.enter_context(open_host(place.host, place.socket, tls=place.tls))
        if command is not None and not values["all_tasks"]:
            check_host(host)
        if script is not None:
            selection = choose_events(host, selection, script, quiet=values["quiet"])
        return record(host, selection, output, command, **values)
