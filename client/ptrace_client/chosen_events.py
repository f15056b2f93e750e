"""What a run traces where the options do not say it: the events of its script, its command."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ptrace_client.errors import ClientError
from ptrace_client.options import Selection
from ptrace_client.printing import terminal_safe

if TYPE_CHECKING:
    from ptrace_client.traced_command import TracedCommand

if TYPE_CHECKING:
    from ptrace_client.host import Host

# Other on every host, and after every start; containers have their host's.
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def choose_events(
    host: Host, selection: Selection, script: str, *, quiet: bool = False
) -> Selection:
    """Return a selection with events: its own, else those for the script in the file `script`.

    What was chosen is told on stderr, unless `quiet`. Raise ClientError where nothing tells the
    events, or the host has none of them.
    """
    if selection.events:
        return selection
    # Only those without -e need them.
    from ptrace_client.perf_script.catalogue import no_script
    from ptrace_client.perf_script.script_events import events_for
    from ptrace_client.run_command import is_module

    if script == "help":
        raise ClientError("help prints a template for events: say with -e for which")
    path = Path(script)
    if not os.path.isfile(path):
        if not is_module(script):
            raise no_script(script)
        raise ClientError(f"no events for {terminal_safe(script)}: say with -e what to trace")
    choice = events_for(path, known=frozenset(host.list_events()))
    if not quiet:
        for line in choice.messages():
            print(f"ptrace-client: {line}", file=sys.stderr)
    stacks = selection.stacks
    if choice.call_graph:
        stacks = replace(stacks, call_graph=True)
    return replace(selection, events=choice.selectors, stacks=stacks)


def trace_command(
    stack: contextlib.ExitStack, words: Sequence[str], selection: Selection
) -> tuple[TracedCommand | None, Selection]:
    """Return the command of these words, which `stack` ends, and the selection of its process.

    Without words, None and the selection as it is. Raise ClientError where the selection names
    other tasks, too, or there is no such command.
    """
    if not words:
        return None, selection
    if selection.pids or selection.tids:
        raise ClientError("a command behind -- is traced alone: leave out -p and -t")
    from ptrace_client.traced_command import TracedCommand

    command = stack.enter_context(TracedCommand(words))
    return command, replace(selection, pids=(command.pid,))


def check_host(host: Host) -> None:
    """Raise ClientError where the processes of this machine are not those that a host traces."""
    try:
        own = _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        own = ""
    if host.info.boot_id and host.info.boot_id != own:
        name = terminal_safe(host.info.hostname)
        raise ClientError(
            f"the command behind -- would run on this machine, and {name} is another one: "
            "start it there, and name its process with -p"
        )
