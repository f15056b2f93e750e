"""ptrace-client scripts: the scripts that have a name."""

from __future__ import annotations

from typing import Any

import click

from ptrace_client.analyses import analyses
from ptrace_client.errors import ClientError
from ptrace_client.perf_script.catalogue import (
    CatalogueScript,
    catalogue,
    find_script,
    folders,
    no_script,
)
from ptrace_client.perf_script.script_events import events_for
from ptrace_client.report import one_line
from ptrace_client.text import columns

# perf's width of a name with its arguments.
_WIDTH = 36


def declare() -> click.Command:
    """Declare the command's arguments."""
    return click.Command(
        "scripts",
        callback=run,
        help="List the scripts that `run`, `record` and `report` know by name: those of "
        "$PTRACED_SCRIPTS, ~/.config/ptraced/scripts and /etc/ptraced/scripts, then those that "
        "come with perf. With a NAME, tell what that one is and what it records.",
        params=[click.Argument(["name"], required=False)],
    )


def run(**values: Any) -> int:
    """Print perf's list, and ours of ready analyses; or what there is to tell of one script."""
    name = values["name"]
    if name is not None:
        script = find_script(name)
        if script is None:
            raise no_script(name)
        print(*_details(script), sep="\n")
        return 0
    found = catalogue()
    print("List of available trace scripts:")
    for script in found:
        first = one_line(f"{script.name} {script.arguments}")
        print(f"  {first:<{_WIDTH}} {one_line(script.description)}".rstrip())
    if not found:
        places = ", ".join(map(str, folders())) or "/etc/ptraced/scripts"
        print(f"  (none in {one_line(places)})")
    print("Ready analyses of this program:")
    for analysis in analyses():
        print(f"  {'@' + analysis.name:<{_WIDTH}} {analysis.summary}")
    return 0


def _details(script: CatalogueScript) -> list[str]:
    try:
        choice = events_for(script.path)
        events = f"{','.join(choice.selectors)}{' -g' * choice.call_graph}, by {choice.origin}"
    except ClientError:
        events = "those of -e"
    rows = [
        ("name", script.name),
        ("file", str(script.path)),
        ("description", script.description),
        ("arguments", script.arguments),
        ("events", events),
    ]
    return columns(row for row in rows if row[1])
