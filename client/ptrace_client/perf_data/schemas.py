"""A recording's events as a daemon describes its own: EventSchemas of the same columns."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final

from ptrace_client.perf_data.attr import SampleType
from ptrace_client.perf_data.model import RecordedEvent, Recording
from ptrace_formats import print_fmt
from ptrace_formats.event_format import EventFormat, FormatField
from ptrace_formats.field_info import field_info
from ptrace_formats.members import CALLCHAIN_COLUMN, DYNAMIC, MEMBERS
from ptrace_formats.registers import sampled_names
from ptrace_formats.sample_format import sample_format
from ptrace_proto import ptrace_pb2 as pb

# Offset and length of dynamic data in the row, u32 each.
_LOCATOR_BYTES: Final = 8
_DYNAMIC_FIELDS: Final = (pb.FIELD_KIND_DYNAMIC_STRING, pb.FIELD_KIND_DYNAMIC_BYTES)
_ARRAYS: Final = (pb.FIELD_KIND_CHAR_ARRAY, pb.FIELD_KIND_BYTES)
_ON_REQUEST: Final = frozenset(member.name for member in MEMBERS if member.on_request)
# Modifiers behind an event's name.
_MODIFIERS: Final = re.compile(r":[ukhGHIpPSDeWb]+$")
# The members of samples that are columns of all events.
_OF_ALL: Final = {"pid": "_pid", "tid": "_tid", "time": "_time"}


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    kind: pb.FieldKind
    size: int
    alignment: int


_TIME: Final = _Column("_time", pb.FIELD_KIND_UNSIGNED, 8, 8)
_TASK: Final = (
    _Column("_pid", pb.FIELD_KIND_SIGNED, 4, 4),
    _Column("_tid", pb.FIELD_KIND_SIGNED, 4, 4),
)
_COMM: Final = _Column("_comm", pb.FIELD_KIND_CHAR_ARRAY, 16, 8)
_OF_RECORDS: Final = (
    _Column("common_flags", pb.FIELD_KIND_UNSIGNED, 1, 1),
    _Column("common_preempt_count", pb.FIELD_KIND_UNSIGNED, 1, 1),
)


def event_schema(
    recording: Recording, event: RecordedEvent, wanted: Collection[str] | None = None
) -> pb.EventSchema:
    """Return the schema of an event; its id is the event's index.

    `wanted` are the columns of its rows besides `_time`; None for those that the daemon gives
    where nobody says.
    """
    stack = bool(event.attr.sample_type & SampleType.CALLCHAIN)
    if event.format is not None:
        return _tracepoint_schema(event, _of_characters(event.format), stack, wanted)
    return _sample_schema(recording, event, stack, wanted)


def sendable(text: str) -> str:
    """Return a text of a recording as messages may hold it: bytes that are no UTF-8 are escaped."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def _of_characters(format: EventFormat) -> EventFormat:
    return replace(
        format,
        system=sendable(format.system),
        name=sendable(format.name),
        fields=tuple(replace(field, ctype=sendable(field.ctype)) for field in format.fields),
        print_fmt=sendable(format.print_fmt),
    )


def _tracepoint_schema(
    event: RecordedEvent, format: EventFormat, stack: bool, wanted: Collection[str] | None
) -> pb.EventSchema:
    parsed = print_fmt.parse(format.print_fmt, [field.name for field in format.fields])
    named = print_fmt.named_values(parsed) if parsed is not None else {}
    columns = {column.name: column for column in (*_TASK, _COMM, *_OF_RECORDS)}
    for field in format.fields:
        columns.setdefault(field.name, _field_column(field))
    if stack:
        columns["_callchain"] = _Column("_callchain", pb.FIELD_KIND_STACK, 4, 4)
    schema = pb.EventSchema(
        id=event.index,
        system=format.system,
        name=format.name,
        common_type=format.id,
        all_fields=[field_info(field, named.get(field.name)) for field in format.fields],
        print_fmt=format.print_fmt,
        stack=stack,
        source=pb.EVENT_SOURCE_TRACEPOINT,
    )
    if parsed is not None:
        schema.print_format.CopyFrom(parsed)
    _place(schema, columns.values(), wanted)
    return schema


def _sample_schema(
    recording: Recording, event: RecordedEvent, stack: bool, wanted: Collection[str] | None
) -> pb.EventSchema:
    format = sample_format(sendable(event.name))
    columns = {column.name: column for column in _TASK}
    for member in MEMBERS:
        if member.column is None:
            alignment = 4 if member.kind in DYNAMIC else member.size
            columns[member.name] = _Column(member.name, member.kind, member.size, alignment)
    columns["_comm"] = _COMM
    if stack:
        columns[CALLCHAIN_COLUMN] = _Column(CALLCHAIN_COLUMN, pb.FIELD_KIND_STACK, 4, 4)
    if wanted is None:
        wanted = [name for name in columns if name not in _ON_REQUEST and name != "_comm"]
    machine = recording.features.arch or ""
    schema = pb.EventSchema(
        id=event.index,
        name=format.name,
        all_fields=[field_info(field, None) for field in format.fields],
        stack=stack,
        source=pb.EVENT_SOURCE_SAMPLE,
        sample=pb.SampleInfo(
            counter=_MODIFIERS.sub("", format.name),
            read_format=event.attr.read_format if _has(event, SampleType.READ) else 0,
            regs_user=sampled_names(machine, event.attr.sample_regs_user),
            regs_intr=sampled_names(machine, event.attr.sample_regs_intr),
        ),
    )
    for info in schema.all_fields:
        info.on_request = info.name in _ON_REQUEST
    _place(schema, columns.values(), [_OF_ALL.get(name, name) for name in wanted])
    return schema


def _has(event: RecordedEvent, member: SampleType) -> bool:
    return bool(event.attr.sample_type & member)


def _field_column(field: FormatField) -> _Column:
    if field.kind in _DYNAMIC_FIELDS:
        return _Column(field.name, field.kind, _LOCATOR_BYTES, 4)
    alignment = field.size
    if field.kind in _ARRAYS:
        alignment = math.gcd(8, field.size, field.offset)
    return _Column(field.name, field.kind, field.size, alignment)


def _place(
    schema: pb.EventSchema, columns: Iterable[_Column], wanted: Collection[str] | None
) -> None:
    """Give the schema its columns: the time first, then the widest."""
    names = None if wanted is None else frozenset(wanted)
    chosen = [column for column in columns if names is None or column.name in names]
    end = 0
    for column in (_TIME, *sorted(chosen, key=lambda column: -column.alignment)):
        schema.fields.add(name=column.name, kind=column.kind, offset=end, size=column.size)
        end += column.size
        schema.has_dynamic |= column.kind in DYNAMIC or column.kind in _DYNAMIC_FIELDS
    schema.row_size = end
