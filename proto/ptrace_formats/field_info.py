"""The fields of an event's format as schemas tell them, and back."""

from __future__ import annotations

from ptrace_formats.event_format import EventFormat, FormatField
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


def format_of(schema: pb.EventSchema) -> EventFormat:
    """Return the format that a schema was made of, without what it does not tell.

    That is the common fields, and where the fields lie in the kernel's records.
    """
    return EventFormat(
        system=schema.system,
        name=schema.name,
        id=schema.common_type,
        common=(),
        fields=tuple(map(_field_of, schema.all_fields)),
        print_fmt=schema.print_fmt,
    )


def _field_of(info: pb.FieldInfo) -> FormatField:
    return FormatField(
        name=info.name,
        ctype=info.type,
        kind=info.kind,
        offset=0,
        size=info.size,
        signed=info.kind == pb.FIELD_KIND_SIGNED,
        element_size=info.element_size,
        element_signed=info.element_signed,
        relative=info.type.startswith("__rel_loc "),
    )
