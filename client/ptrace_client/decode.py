"""Rows of a batch as tuples: the struct format that a schema's layout amounts to."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ptrace_client.errors import ClientError
from ptrace_proto import ptrace_pb2 as pb

_SIGNED = {1: "b", 2: "h", 4: "i", 8: "q"}
_UNSIGNED = {1: "B", 2: "H", 4: "I", 8: "Q"}
_CODES = {
    pb.FIELD_KIND_SIGNED: _SIGNED,
    pb.FIELD_KIND_UNSIGNED: _UNSIGNED,
    pb.FIELD_KIND_POINTER: _UNSIGNED,
    # A C bool is an int to scripts, as in perf-prof.
    pb.FIELD_KIND_BOOL: _UNSIGNED,
    # The number of a stack, which is looked up in stacks.StackTable.
    pb.FIELD_KIND_STACK: {4: "I"},
    # Offset and length, taken apart on access.
    pb.FIELD_KIND_DYNAMIC_STRING: {8: "Q"},
    pb.FIELD_KIND_DYNAMIC_BYTES: {8: "Q"},
    pb.FIELD_KIND_READ: {8: "Q"},
    pb.FIELD_KIND_REGS: {8: "Q"},
}
DYNAMIC_KINDS = frozenset(
    (
        *(pb.FIELD_KIND_DYNAMIC_STRING, pb.FIELD_KIND_DYNAMIC_BYTES),
        *(pb.FIELD_KIND_READ, pb.FIELD_KIND_REGS),
    )
)
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class RowData:
    """What a batch has besides its event: `count` rows of a CPU."""

    cpu: int
    count: int
    rows: bytes | memoryview


class RowLayout:
    """How to take the rows of one schema apart.

    Columns outside `wanted` become padding, so that no Python object is made for them. Of a
    schema with dynamic data the last item of each tuple is the row itself, as bytes, if a
    wanted column lies in there. `codes` are struct codes by column, of the column's size, where
    they are not the usual ones.
    """

    def __init__(
        self,
        schema: pb.EventSchema,
        wanted: Collection[str] | None = None,
        codes: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.event = event_name(schema)
        self.columns: dict[str, int] = {}
        self.fields: list[pb.Field] = []
        self._dynamic = schema.has_dynamic
        code, position = "<", 0
        for field in schema.fields:
            if field.offset < position:
                raise ClientError(f"the server sent overlapping columns for {self.event}", 1)
            if wanted is not None and field.name not in wanted:
                continue
            gap = field.offset - position
            code += f"{gap}x" if gap else ""
            own = _CODES.get(field.kind, {}).get(field.size, f"{field.size}s")
            code += codes.get(field.name, own)
            position = field.offset + field.size
            self.columns[field.name] = len(self.fields)
            self.fields.append(field)
        if position > schema.row_size:
            raise ClientError(f"the server sent columns beyond the row of {self.event}", 1)
        code += f"{schema.row_size - position}x" if schema.row_size > position else ""
        self._struct = struct.Struct(code)
        self._keeps_row = any(field.kind in DYNAMIC_KINDS for field in self.fields)
        # Place of the row's bytes in the tuple, or None.
        self.row_index = len(self.fields) if self._keeps_row else None
        # Place of the number of the row's stack, and that of its chain once it has been
        # looked up (stacks.StackTable.resolved()); None where there is none.
        self.stack_index = next(
            (place for place, it in enumerate(self.fields) if it.kind == pb.FIELD_KIND_STACK), None
        )
        self.chain_index = len(self.fields) + self._keeps_row

    def rows(self, batch: pb.Batch | RowData) -> Iterator[tuple[Any, ...]]:
        """Iterate over the batch's rows; operator.length_hint() tells how many are left.

        Raise ClientError where the batch does not fit the layout.
        """
        if not self._dynamic:
            return self._struct.iter_unpack(self.fixed_rows(batch))
        rows = list(self._walk(batch.rows))
        if len(rows) != batch.count:
            raise self._damaged(f"{len(rows)} rows instead of {batch.count}")
        return iter(rows)

    def fixed_rows(self, batch: pb.Batch | RowData) -> bytes | memoryview:
        """Return the rows of a batch without dynamic data, back to back."""
        data = batch.rows
        if len(data) != batch.count * self._struct.size:
            raise self._damaged(f"{len(data)} bytes for {batch.count} rows")
        return data

    def _walk(self, data: bytes | memoryview) -> Iterator[tuple[Any, ...]]:
        for start, end in row_spans(data):
            if end - start < self._struct.size or end > len(data):
                raise self._damaged(f"a row of {end - start} bytes")
            row = self._struct.unpack_from(data, start)
            yield (*row, bytes(data[start:end])) if self._keeps_row else row

    def _damaged(self, what: str) -> ClientError:
        return ClientError(f"the server sent a damaged batch of {self.event}: {what}", 1)


def row_spans(data: bytes | memoryview) -> Iterator[tuple[int, int]]:
    """Yield start and end, in bytes, of every row of a batch with dynamic data."""
    position = 0
    while position < len(data):
        if position + _LENGTH.size > len(data):
            yield position, position
            return
        start = position + _LENGTH.size
        position = start + _LENGTH.unpack_from(data, position)[0]
        yield start, position


def event_name(schema: pb.EventSchema) -> str:
    """Return "sched:sched_wakeup", or "sched:ALIAS" where the selector gave an alias.

    Sampled events have no system: "profile" or "ALIAS".
    """
    return _full_name(schema.system, schema.alias or schema.name)


def source_name(schema: pb.EventSchema) -> str:
    """Return the name of an event whatever its alias: "sched:sched_wakeup", "profile"."""
    return _full_name(schema.system, schema.name)


def _full_name(system: str, name: str) -> str:
    return f"{system}:{name}" if system else name


def text(data: bytes) -> str:
    """Decode a C string: up to the first NUL, bytes that are not UTF-8 kept as surrogates."""
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")


class TextCache(dict[bytes, str]):
    """Decoded strings by their bytes: task names come again and again."""

    _LIMIT = 4096

    def __missing__(self, data: bytes) -> str:
        if len(self) >= self._LIMIT:
            self.clear()
        decoded = self[data] = text(data)
        return decoded
