"""ptrace-client examples: the ready analyses."""

from __future__ import annotations

from typing import Any

import click

from ptrace_client.analyses import analyses, find_analysis
from ptrace_client.text import columns


def declare() -> click.Command:
    """Declare the command's arguments."""
    return click.Command(
        "examples",
        callback=run,
        help="List the ready analyses, which `ptrace-client run @NAME` runs; with a NAME, print "
        "that script, to read or to start from.",
        params=[click.Argument(["name"], required=False)],
    )


def run(**values: Any) -> int:
    """Print one example a line, or the source of one."""
    if values["name"] is not None:
        print(find_analysis(values["name"]).source, end="")
        return 0
    print(*columns((f"@{analysis.name}", analysis.summary) for analysis in analyses()), sep="\n")
    return 0
