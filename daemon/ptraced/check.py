"""`ptraced --check`: what this kernel and installation can do, what is missing, how to get it.

Features are tried, never concluded from the kernel's version.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TextIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ptraced.config import Config

State = Literal["ok", "limited", "missing"]

_STYLES = {"ok": "green", "limited": "yellow", "missing": "bold red"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    "missing" keeps the daemon from tracing tracepoints at all; "limited" leaves something else
    out, and `remedy` says how to get it.
    """

    name: str
    state: State
    detail: str
    remedy: str = ""


Probe = Callable[[Config], Check]


def checks(config: Config) -> list[Check]:
    """Try everything; takes about a second, changes nothing."""
    from ptraced import check_installation, check_kernel

    probes = (*check_kernel.PROBES, *check_installation.PROBES)
    return [probe(config) for probe in probes]


def run(config: Config, file: TextIO | None = None) -> int:
    """Print the table; returns the exit status: 0 where tracepoints can be traced, else 1."""
    found = checks(config)
    print_table(found, file or sys.stdout)
    return 1 if any(check.state == "missing" for check in found) else 0


def print_table(found: list[Check], file: TextIO) -> None:
    """Print checks as a table, and what they come to as its last line."""
    console = Console(file=file, highlight=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("check", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("detail and remedy", overflow="fold")
    for check in found:
        text = f"{check.detail}\n{check.remedy}" if check.remedy else check.detail
        style = _STYLES[check.state]
        table.add_row(check.name, f"[{style}]{check.state}[/]", escape(text))
    console.print(table)
    missing = [check.name for check in found if check.state == "missing"]
    if missing:
        console.print(f"\ntracing is not possible yet: {', '.join(missing)}")
    else:
        console.print("\ntracepoints can be traced")
