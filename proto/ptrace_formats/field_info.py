"""A field of an event's format as schemas tell it."""

from __future__ import annotations

from ptrace_formats.event_format import FormatField
from ptrace_proto import ptrace_pb2 as pb


def field_info(field: FormatField, named: pb.NamedValues | None) -> pb.FieldInfo:
    """Return how an EventSchema describes the field; `named` is what its print format names."""
    return pb.FieldInfo(
        name=field.name,
        type=field.ctype,
        kind=field.kind,
        size=field.size,
        element_size=field.element_size,
        element_signed=field.element_signed,
        named_values=named,
    )
