"""Which events of a recording -e selects: those of the given names, or all."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.attr import EventKind, SampleType
from ptrace_client.perf_data.model import RecordedEvent, Recording
from ptrace_client.perf_data.selectors import parse_selectors
from ptrace_client.printing import terminal_safe

# PERF_COUNT_SW_DUMMY.
_DUMMY: Final = 9
# Names that a message shows.
_SHOWN: Final = 8


def select_events(recording: Recording, selectors: Sequence[str]) -> list[RecordedEvent]:
    """Return the events that the selectors name, in the recording's order; all without any.

    A selector is one or more names, with commas between them: "sched:sched_switch", "sched:*",
    "sched", "cpu-clock"; those of live events may ask for rates and call chains. Raise ClientError
    for one that names nothing there, for call chains that are not there, and for filters.
    """
    wanted = parse_selectors(selectors, frozenset(event.name for event in recording.events))
    if not wanted:
        return list(recording.events)
    chosen: set[int] = set()
    for selector in wanted:
        found = [event for event in recording.events if _is_named(event, selector.name)]
        if not found:
            raise ClientError(_unknown(recording, selector.name))
        if selector.stack:
            _check_stacks(recording, found)
        chosen.update(event.index for event in found)
    return [event for event in recording.events if event.index in chosen]


def sampled_events(recording: Recording, selectors: Sequence[str]) -> list[RecordedEvent]:
    """Return the same without the events by which perf only follows tasks, unless named."""
    events = select_events(recording, selectors)
    return events if selectors else [event for event in events if not _follows_tasks(event)]


def is_selected(event: RecordedEvent, selectors: Sequence[str]) -> bool:
    """Return whether select_events() would choose the event."""
    wanted = parse_selectors(selectors, frozenset((event.name,)))
    return not wanted or any(_is_named(event, selector.name) for selector in wanted)


def _follows_tasks(event: RecordedEvent) -> bool:
    return event.attr.type == EventKind.SOFTWARE and event.attr.config == _DUMMY


def _check_stacks(recording: Recording, events: Sequence[RecordedEvent]) -> None:
    for event in events:
        if not event.attr.sample_type & SampleType.CALLCHAIN:
            raise ClientError(
                f"{terminal_safe(recording.path)} has no call chains of "
                f"{terminal_safe(event.name)}: they are recorded with -g"
            )


def _is_named(event: RecordedEvent, name: str) -> bool:
    """Return whether a selector's name means the event; ":u" and the like may be left out."""
    if event.name == name:
        return True
    if event.is_tracepoint:
        wanted = name if ":" in name else f"{name}:*"
        return fnmatchcase(event.name, wanted)
    return fnmatchcase(event.name, name) or fnmatchcase(event.name.partition(":")[0], name)


def _unknown(recording: Recording, name: str) -> str:
    known = list(dict.fromkeys(event.name for event in sampled_events(recording, ())))
    near = difflib.get_close_matches(name, known, 1)
    if near:
        hint = f"did you mean {near[0]}?"
    else:
        more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
        hint = f"it has {', '.join(known[:_SHOWN])}{more}"
    path = terminal_safe(recording.path)
    return f"{path} has no event {terminal_safe(name)}: {terminal_safe(hint)}"
