"""PerfEvent scripts, and what prints events, on a recording instead of a daemon's stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ptrace_client.errors import ClientError
from ptrace_client.options import Selection
from ptrace_client.perf_data.model import Recording
from ptrace_client.perf_symbols.model import Machine
from ptrace_client.runner import RunOptions, run_script
from ptrace_client.targets import RunScript

if TYPE_CHECKING:
    from ptrace_client.perf_data.stream import FileStream

_NS_PER_MS = 1_000_000
# __interval__ is as exact as its period is long in these.
_MARKS_PER_TICK = 10


def check_recorded(selection: Selection, duration: float | None) -> None:
    """Raise ClientError for options that say where or how long to trace: that is done."""
    given = {
        "-C": selection.cpus,
        "-p": selection.pids,
        "-t": selection.tids,
        "--cgroups": selection.cgroups,
        "--duration": duration,
    }
    for option, value in given.items():
        if value:
            raise ClientError(
                f"{option} is for live events: of a recording a script gets all that -e names"
            )


def run_on_stream(
    recording: Recording,
    machine: Machine,
    script: RunScript,
    selectors: Sequence[str],
    options: RunOptions,
) -> int:
    """Run `script` on the events of a recording, in the order of time; return the status."""
    from ptrace_client.perf_data.stream import described_events, open_file_stream

    schemas = described_events(recording, selectors)
    projections = script.projections(schemas, options.all_fields)

    def open_stream() -> FileStream:
        return open_file_stream(
            recording,
            selectors,
            projections,
            machine=machine,
            mark_interval=(options.interval_ms or 0) * _NS_PER_MS // _MARKS_PER_TICK,
        )

    return run_script(script, open_stream, replace(options, order=True))
