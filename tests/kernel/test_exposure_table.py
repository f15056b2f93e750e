"""The table of events that are shown of one's own tasks, against those of this kernel."""

from __future__ import annotations

from fnmatch import fnmatchcase

from ptrace_formats.members import BY_NAME
from ptraced.policy import events
from ptraced.sampling import counters
from ptraced.tracefs import Tracefs

_PROBES = ("uprobe:*", "uretprobe:*", "usdt:*")
_SAMPLED = (*counters.SOFTWARE_EVENTS, *counters.HARDWARE_EVENTS, *counters.CACHE_EVENTS)


def test_every_name_and_field_in_the_table_is_an_events_of_this_kernel() -> None:
    tracefs = Tracefs.find()
    known = [*tracefs.names(), *_SAMPLED]
    for entry in events.table():
        found = [name for name in known if fnmatchcase(name, entry.name)]
        assert found or entry.is_optional or entry.name in _PROBES, entry.name
        for name in found:
            named = entry.sights.keys() - {"*"} - entry.optional
            assert named <= _fields(tracefs, name), name


def test_every_field_of_an_event_that_is_shown_is_in_the_table() -> None:
    tracefs = Tracefs.find()
    for name in [*tracefs.names(), *_SAMPLED]:
        entry = events.find(name)
        if entry is not None and not entry.denied and "*" not in entry.sights:
            assert _fields(tracefs, name) <= entry.sights.keys(), name


def _fields(tracefs: Tracefs, name: str) -> set[str]:
    if name in _SAMPLED:
        return set(BY_NAME)
    return {field.name for field in tracefs.format(*name.split(":", 1)).fields}
