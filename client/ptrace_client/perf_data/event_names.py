"""Names of events that a recording does not name, in perf's words."""

from __future__ import annotations

from typing import Final

from ptrace_client.perf_data.attr import EventAttr, EventKind
from ptrace_formats.event_format import EventFormat

_HARDWARE: Final = (
    "cycles",
    "instructions",
    "cache-references",
    "cache-misses",
    "branches",
    "branch-misses",
    "bus-cycles",
    "stalled-cycles-frontend",
    "stalled-cycles-backend",
    "ref-cycles",
)
_SOFTWARE: Final = (
    "cpu-clock",
    "task-clock",
    "page-faults",
    "context-switches",
    "cpu-migrations",
    "minor-faults",
    "major-faults",
    "alignment-faults",
    "emulation-faults",
    "dummy",
    "bpf-output",
    "cgroup-switches",
)


def event_name(attr: EventAttr, format: EventFormat | None) -> str:
    """Return the name that perf makes of an attr."""
    if attr.type == EventKind.TRACEPOINT:
        return format.title if format is not None else "unknown tracepoint"
    if attr.type == EventKind.HARDWARE and attr.config < len(_HARDWARE):
        return _HARDWARE[attr.config]
    if attr.type == EventKind.SOFTWARE and attr.config < len(_SOFTWARE):
        return _SOFTWARE[attr.config]
    return f"unknown attr type: {attr.type}"
