"""ptrace-client record: events into a file that perf reads, too."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from ptrace_client.arguments import split_before_word
from ptrace_client.embedded import open_host
from ptrace_client.options import place_options, selection_options, take_place, take_selection
from ptrace_client.recorder import record
from ptrace_client.request import check_buffer_pages
from ptrace_client.traced_command import TracedCommand


class RecordCommand(click.Command):
    """A command behind whose options the words of another one stand, maybe behind a `--`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what stands before the first word that is no option; the rest is the command's."""
        own, command = split_before_word(args, self.get_params(ctx))
        return super().parse_args(ctx, [*own, "--", *command])


def declare() -> click.Command:
    """Declare the command's arguments."""
    return RecordCommand(
        "record",
        callback=run,
        help="Record events into FILE, which `perf script`, `perf report` and `ptrace-client run "
        "-i FILE` read. Without a COMMAND it goes on until Ctrl-C.",
        params=[
            *selection_options(),
            click.Option(
                ["-o", "--output"],
                default="perf.data",
                show_default=True,
                metavar="FILE",
                help="Where to; - is stdout, for a pipe.",
            ),
            click.Option(
                ["--duration"],
                type=click.FloatRange(min=0, min_open=True),
                metavar="SECONDS",
                help="End after this time.",
            ),
            click.Option(["-q", "--quiet"], is_flag=True, help="No messages but errors."),
            *place_options(),
            click.Argument(["command"], nargs=-1, metavar="[--] [COMMAND]..."),
        ],
    )


def run(**values: Any) -> int:
    """Record, and return the exit status."""
    place, selection = take_place(values), take_selection(values)
    check_buffer_pages(selection.mmap_pages)
    words, output = values.pop("command"), values.pop("output")
    with contextlib.ExitStack() as undo:
        # Before there are threads.
        command = undo.enter_context(TracedCommand(words)) if words else None
        host = undo.enter_context(open_host(place.host, place.socket, tls=place.tls))
        return record(host, selection, output, command, **values)
