"""Whether a script has anything to do with the events of a recording."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ptrace_client.perf_data.attr import EventKind
from ptrace_client.perf_data.model import RecordedEvent
from ptrace_client.perf_script.script import PerfScript
from ptrace_client.printing import terminal_safe

# Functions that are called for other things than samples.
_OF_RECORDS: Final = ("context_switch", "throttle", "unthrottle", "auxtrace_error", "__lost__")
_EXPORT: Final = "perf_db_export_mode"
_COUNTS: Final = "stat__"
# Names that a message shows.
_SHOWN: Final = 8


def idle_warning(script: PerfScript, events: Sequence[RecordedEvent], recording: str) -> str | None:
    """Return a sentence for a script that no event of a recording will be handed to."""
    if any(script.handler(name) is not None for name in _OF_RECORDS):
        return None
    if script.namespace.get(_EXPORT) or any(name.startswith(_COUNTS) for name in script.namespace):
        return None
    if any(takes(script, event) for event in events):
        return None
    own = [name for name in script.namespace if "__" in name.strip("_")]
    own = [name for name in own if script.handler(name) is not None]
    names = list(dict.fromkeys(event.name for event in events))
    has = f"has {_list(names)}" if names else "has no events"
    wants = f"its handlers are {_list(own)}" if own else "it has no handler for these"
    return terminal_safe(f"{script.path} gets no events: {recording} {has}, {wants}")


def takes(script: PerfScript, event: RecordedEvent) -> bool:
    """Return whether the script has a function for the samples of an event now."""
    return any(script.handler(name) is not None for name in _handlers(event))


def _handlers(event: RecordedEvent) -> Iterable[str]:
    if event.attr.type == EventKind.TRACEPOINT:
        return (event.name.replace(":", "__", 1), "trace_unhandled")
    return ("process_event",)


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
