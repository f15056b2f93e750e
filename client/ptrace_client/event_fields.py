"""Which names events have: those that all of a kind have, and their own.

Rows need not have a column for each: some are another column under another name, and some
are captured only where they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ptrace_proto import ptrace_pb2 as pb

# Keys that every event of a tracepoint or probe has, in perf-prof's order; its own follow.
COMMON_KEYS: Final = (
    "_pid",
    "_tid",
    "_time",
    "_cpu",
    "_period",
    "common_type",
    "common_flags",
    "common_preempt_count",
    "common_pid",
    "_realtime",
    "_callchain",
    "_event",
)
# The same for sampled events.
SAMPLE_KEYS: Final = ("_pid", "_tid", "_time", "_cpu", "_realtime", "_event")
# Columns that are readable without being keys: print() needs the task's name.
EXTRA_COLUMNS: Final = ("_comm",)

# Keys that are another column under another name or in another clock.
_DERIVED: Final[Mapping[str, str]] = {"common_pid": "_tid", "_realtime": "_time"}
_DERIVED_MEMBERS: Final[Mapping[str, str]] = {"pid": "_pid", "tid": "_tid", "time": "_time"}
# Those, and what every batch has.
_MEMBERS_OF_ALL: Final = (*_DERIVED_MEMBERS, "cpu")

# Columns that exist for every event of a tracepoint or probe besides its own fields, see
# Field.name of the contract.
_COMMON_COLUMNS: Final = frozenset(
    ("_time", "_pid", "_tid", "_comm", "common_flags", "common_preempt_count")
)


def is_sample(schema: pb.EventSchema) -> bool:
    """Return whether the event is a sampled one: it has members instead of a record."""
    return schema.source == pb.EVENT_SOURCE_SAMPLE


def common_keys(schema: pb.EventSchema) -> tuple[str, ...]:
    """Return the keys that all events of this kind have."""
    return SAMPLE_KEYS if is_sample(schema) else COMMON_KEYS


def chain_key(schema: pb.EventSchema) -> str:
    """Return the name of the call chain."""
    return "callchain" if is_sample(schema) else "_callchain"


def own_keys(schema: pb.EventSchema) -> tuple[str, ...]:
    """Return the keys of the event's own fields, as far as its rows could have them."""
    if not is_sample(schema):
        return tuple(info.name for info in schema.all_fields)
    there = {field.name for field in schema.fields}
    members = [it.name for it in schema.all_fields if not it.on_request or it.name in there]
    chain = [chain_key(schema)] if schema.stack else []
    return tuple(dict.fromkeys((*_lacking(members), *members, *chain)))


def derived_columns(schema: pb.EventSchema) -> Mapping[str, str]:
    """Return the keys that are read from a column of another name, with that name."""
    if not is_sample(schema):
        return _DERIVED
    there = {field.name for field in schema.fields}
    members = {key: base for key, base in _DERIVED_MEMBERS.items() if key not in there}
    return {"_realtime": "_time", **members}


def has_own_cpu(schema: pb.EventSchema) -> bool:
    """Return whether a member "cpu" has a column of its own: it is the batch's CPU otherwise."""
    return any(field.name == "cpu" for field in schema.fields)


def columns_of(schema: pb.EventSchema) -> frozenset[str]:
    """Return the names of all columns that may be asked for."""
    if is_sample(schema):
        on_request = [info.name for info in schema.all_fields if info.on_request]
        return frozenset((*(field.name for field in schema.fields), *on_request, *EXTRA_COLUMNS))
    chain = [chain_key(schema)] if schema.stack else []
    return _COMMON_COLUMNS.union((info.name for info in schema.all_fields), chain)


def _lacking(members: list[str]) -> list[str]:
    return [name for name in _MEMBERS_OF_ALL if name not in members]
