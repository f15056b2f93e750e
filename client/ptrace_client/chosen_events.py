"""The events of a script, where the options do not say them."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ptrace_client.errors import ClientError
from ptrace_client.options import Selection
from ptrace_client.printing import terminal_safe

if TYPE_CHECKING:
    from ptrace_client.host import Host


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
    from ptrace_client.script_names import is_module

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
