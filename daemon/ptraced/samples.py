"""Rows as self-describing samples, for clients that know no schemas."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from ptrace_proto import ptrace_pb2 as pb

_LENGTH = struct.Struct("<I")
_LOCATOR = struct.Struct("<II")
_SIGNED = {1: "<b", 2: "<h", 4: "<i", 8: "<q"}
_UNSIGNED = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}


class SampleDecoder:
    """Turns the rows of one stream's schemas into Sample messages. Simple, and slow."""

    def __init__(self, schemas: Sequence[pb.EventSchema]) -> None:
        self._schemas = {schema.id: schema for schema in schemas}

    def decode(self, schema_id: int, cpu: int, data: bytes) -> Iterator[pb.Sample]:
        """The samples of a batch's rows."""
        schema = self._schemas[schema_id]
        name = schema.alias or schema.name
        event = f"{schema.system}:{name}" if schema.system else name
        for row in _rows(schema, data):
            (time,) = struct.unpack_from("<Q", row)
            yield pb.Sample(
                event=event,
                time=time,
                cpu=cpu,
                fields=[_field(field, row) for field in schema.fields if field.name != "_time"],
            )


def _rows(schema: pb.EventSchema, data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = schema.row_size
        if schema.has_dynamic:
            (size,) = _LENGTH.unpack_from(data, at)
            at += _LENGTH.size
        yield data[at : at + size]
        at += size


def _field(field: pb.Field, row: bytes) -> pb.SampleField:
    result = pb.SampleField(name=field.name)
    raw = row[field.offset : field.offset + field.size]
    match field.kind:
        case pb.FIELD_KIND_SIGNED:
            (result.signed,) = struct.unpack(_SIGNED[field.size], raw)
        case pb.FIELD_KIND_UNSIGNED | pb.FIELD_KIND_POINTER | pb.FIELD_KIND_STACK:
            (result.unsigned,) = struct.unpack(_UNSIGNED[field.size], raw)
        case pb.FIELD_KIND_BOOL:
            result.truth = raw != b"\0"
        case pb.FIELD_KIND_CHAR_ARRAY:
            result.text = _text(raw)
        case pb.FIELD_KIND_DYNAMIC_STRING:
            result.text = _text(_dynamic(row, raw))
        case pb.FIELD_KIND_DYNAMIC_BYTES | pb.FIELD_KIND_READ | pb.FIELD_KIND_REGS:
            result.data = _dynamic(row, raw)
        case _:
            result.data = raw
    return result


def _dynamic(row: bytes, locator: bytes) -> bytes:
    offset, length = _LOCATOR.unpack(locator)
    return row[offset : offset + length]


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode(errors="replace")
