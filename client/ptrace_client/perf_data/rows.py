"""From the samples of a recording to packed rows, by code that is generated for each event."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final, TypeAlias

from ptrace_client.decode import DYNAMIC_KINDS
from ptrace_client.errors import ClientError
from ptrace_client.perf_data.attr import EventAttr
from ptrace_client.perf_data.cursor import damage
from ptrace_client.perf_data.model import Buffer, RecordedEvent, Sample, Sink
from ptrace_client.perf_data.places import Place, lay_out
from ptrace_client.perf_data.sample_columns import BITS, DYNAMIC_MEMBERS, MEMBERS
from ptrace_client.printing import terminal_safe
from ptrace_formats.event_format import FormatField
from ptrace_proto import ptrace_pb2 as pb

# Rows by CPU, each with its length before it where rows have dynamic data.
Rows: TypeAlias = defaultdict[int, list[bytes]]
# Gives the number of the stack of a sample.
StackOf: TypeAlias = Callable[[Sample], int]

_UNSIGNED: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}
_NUMBERS: Final = frozenset(
    (
        *(pb.FIELD_KIND_SIGNED, pb.FIELD_KIND_UNSIGNED),
        *(pb.FIELD_KIND_POINTER, pb.FIELD_KIND_BOOL, pb.FIELD_KIND_STACK),
    )
)
# Bytes of a row's columns, and of its dynamic data: a sample has fewer than 64 KiB, of which no two
# columns have the same, and some numbers are longer in a row.
_COLUMNS_MAX: Final = 80 << 10
_DYNAMIC_MAX: Final = 80 << 10
# Of a sample that does not tell it: -1 as a u32, as in perf.
_NO_CPU: Final = (1 << 32) - 1


@dataclass(frozen=True)
class RowMaker:
    """Takes the samples of an event: `sink` puts their rows into `rows`."""

    sink: Sink
    rows: Rows


def row_maker(
    event: RecordedEvent,
    schema: pb.EventSchema,
    *,
    order: str,
    comms: dict[int, bytes],
    stack_of: StackOf,
    where: str,
) -> RowMaker:
    """Return what makes the rows of `schema` out of the samples of an event.

    `order` is struct's prefix of the recording, `comms` has names of threads, 16 bytes each.
    Damaged samples raise ClientError, which starts with `where`.
    """
    if schema.row_size > _COLUMNS_MAX:
        raise ClientError(
            f"{where}: the fields of {terminal_safe(event.name)} have {schema.row_size} bytes, "
            "more than a record"
        )
    rows: Rows = defaultdict(list)
    source = _Source(event, schema, order)
    text = source.text()
    scope: dict[str, Any] = {
        **source.scope,
        "rows": rows,
        "comms": comms,
        "stack_of": stack_of,
        "sample_of": event.layout.sample,
        "raw_of": event.layout.raw,
        "too_short": _damaged(where, "the sample is too short for its event"),
        "too_much": _damaged(where, "its dynamic fields have more bytes than it"),
    }
    exec(text, scope)
    return RowMaker(scope["take"], rows)


def _damaged(where: str, text: str) -> Callable[[int], ClientError]:
    return lambda start: damage(f"{where}: sample", start, text)


class _Source:
    """The source code of `take(data, start, end, misc, time)`."""

    def __init__(self, event: RecordedEvent, schema: pb.EventSchema, order: str) -> None:
        self._event, self._schema, self._order = event, schema, order
        self.scope: dict[str, Any] = {"data_slice": _data_slice}
        self._lines: list[str] = []
        # The sample's fixed members that are used, and the record's fields.
        self._fixed = {name: (place, code) for name, place, code in event.layout.fixed}
        self._members: dict[str, Place] = {}
        self._fields: dict[str, Place] = {}
        self._parsed = False
        # Struct codes and values of the row.
        self._codes: list[str] = []
        self._values: list[str] = []
        # The first field of each name, the event's own before the common ones.
        format = event.format
        declared = () if format is None else (*format.fields, *format.common)
        self._declared = {field.name: field for field in reversed(declared)}
        # Variables with the dynamic data.
        self._tail: list[str] = []

    def text(self) -> str:
        """Return the whole function."""
        cpu = self._member("cpu", str(_NO_CPU))
        for number, column in enumerate(self._schema.fields):
            self._column(number, column)
        row_lines = self._row(cpu)
        lines = [*self._unpacking(), *self._lines, *row_lines]
        return "def take(data, start, end, misc, time):\n" + "".join(
            f"    {line}\n" for line in lines
        )

    def _row(self, cpu: str) -> Iterator[str]:
        dynamic = self._schema.has_dynamic
        end = str(self._schema.row_size)
        for number, name in enumerate(self._tail):
            yield f"end{number} = {end} + len({name})"
            end = f"end{number}"
        if self._tail:
            yield f"if {end} > {self._schema.row_size + _DYNAMIC_MAX}: raise too_much(start)"
        self.scope["pack"] = Struct("<" + "I" * dynamic + "".join(self._codes)).pack
        values = ", ".join([*([end] if dynamic else []), *self._values])
        yield f"rows[{cpu}].append({' + '.join([f'pack({values})', *self._tail])})"

    def _unpacking(self) -> Iterator[str]:
        """Yield what unpacks the members and fields that the row needs."""
        layout = self._event.layout
        raw_behind = layout.raw_place + 4 if layout.raw_place >= 0 and not self._parsed else -1
        places = list(self._members.values())
        if self._fields and raw_behind >= 0:
            yield from self._raw_inline(places, raw_behind)
            return
        if places:
            yield from self._unpack("members", places, "start", "end", damaged=True)
        if self._parsed:
            yield "sample = sample_of(data, start, end, misc)"
        if self._fields:
            yield "at, size = raw_of(data, start, end)"
            yield "stop = at + size"
            yield from self._unpack("fields", list(self._fields.values()), "at", "stop")

    def _raw_inline(self, places: list[Place], raw_behind: int) -> Iterator[str]:
        """Unpack members and fields at once; a record that is too short goes the long way."""
        fields = [
            Place(place.offset + raw_behind, place.size, place.code, place.name)
            for place in self._fields.values()
        ]
        size = Place(raw_behind - 4, 4, "I", "size")
        struct, names, others = lay_out([*places, size, *fields], self._order)
        if others or raw_behind > 1 << 12:
            if places:
                yield from self._unpack("members", places, "start", "end", damaged=True)
            yield "at, size = raw_of(data, start, end)"
            yield "stop = at + size"
            yield from self._unpack("fields", list(self._fields.values()), "at", "stop")
            return
        self.scope["unpack"] = struct.unpack_from
        yield f"if end - start < {struct.size}:"
        yield f"    if end - start < {raw_behind}:"
        yield "        raise too_short(start)"
        yield f"    data = data[start:end].ljust({struct.size}, b'\\0')"
        yield "    end -= start"
        yield "    start = 0"
        yield f"{_targets(names)} = unpack(data, start)"
        yield f"at = start + {raw_behind}"
        yield "stop = at + size if at + size < end else end"

    def _unpack(
        self, name: str, places: list[Place], at: str, end: str, damaged: bool = False
    ) -> Iterator[str]:
        """Unpack places of what lies from `at` to `end`, which may be too short for them."""
        struct, names, others = lay_out(places, self._order)
        self.scope[f"unpack_{name}"] = struct.unpack_from
        yield f"if {end} - {at} < {struct.size}:"
        if damaged:
            yield "    raise too_short(start)"
        else:
            yield f"    data = data[{at}:{end}].ljust({struct.size}, b'\\0')"
            yield f"    {end} -= {at}"
            yield f"    {at} = 0"
        yield f"{_targets(names)} = unpack_{name}(data, {at})"
        for place in others:
            self.scope[f"unpack_{place.name}"] = Struct(self._order + place.code).unpack_from
            yield f"{place.name}, = unpack_{place.name}(data, {at} + {place.offset})"

    def _column(self, number: int, column: pb.Field) -> None:
        name = f"v{number}"
        if column.name == "_time":
            self._add("Q", "time if time > 0 else 0")
        elif column.name in ("_pid", "_tid"):
            self._add("i", self._member(column.name[1:], "-1"))
        elif column.name == "_comm":
            self._add("16s", f"comms[{self._member('tid', '-1')}]")
        elif column.kind == pb.FIELD_KIND_STACK:
            self._parse()
            self._add("I", "stack_of(sample)")
        elif self._event.format is not None:
            self._field(name, column)
        else:
            self._sampled(name, column)

    def _add(self, code: str, value: str) -> None:
        self._codes.append(code)
        self._values.append(value)

    def _add_dynamic(self, name: str) -> None:
        """Add the locator of data that a variable has."""
        before = f"end{len(self._tail) - 1}" if self._tail else str(self._schema.row_size)
        self._tail.append(name)
        self._add("II", f"{before}, len({name})")

    def _member(self, name: str, default: str) -> str:
        """Return the expression of a member of the sample that has a fixed place."""
        if name not in self._fixed:
            return default
        offset, code = self._fixed[name]
        # Ids of tasks are signed, as the daemon has them.
        code = "i" if name in ("pid", "tid") else code[-1]
        self._members[name] = Place(offset, Struct(f"<{code}").size, code, f"m_{name}")
        return f"m_{name}"

    def _parse(self) -> None:
        self._parsed = True

    def _field(self, name: str, column: pb.Field) -> None:
        """Add a column that is a field of the kernel's record."""
        field = self._declared.get(column.name)
        if field is None:
            self._add(f"{column.size}s", f"bytes({column.size})")
            return
        if column.kind in DYNAMIC_KINDS and field.size not in _UNSIGNED:
            # No locator that anybody knows.
            self._lines.append(f"{name} = b''")
            self._add_dynamic(name)
            return
        if column.kind in DYNAMIC_KINDS:
            self._fields[name] = Place(field.offset, field.size, _UNSIGNED[field.size], name)
            base = f"at + {field.offset + field.size}" if field.relative else "at"
            self._lines.append(f"{name} = data_slice(data, {base}, {name}, stop)")
            self._turn(name, field)
            self._add_dynamic(name)
            return
        code = _code(column)
        self._fields[name] = Place(field.offset, field.size, code, name)
        if code.endswith("s"):
            self._turn(name, field)
        self._add(code, name)

    def _turn(self, name: str, field: FormatField) -> None:
        """Put the elements of an array into the order of rows."""
        if self._order == ">" and field.element_size in (2, 4, 8) and "[" in field.ctype:
            self.scope["turned"] = _turned
            self._lines.append(f"{name} = turned({name}, {field.element_size})")

    def _sampled(self, name: str, column: pb.Field) -> None:
        """Add a column that is a member of a sample."""
        attr = self._event.attr
        member, default = MEMBERS.get(column.name, (column.name, "0"))
        if column.kind in DYNAMIC_KINDS:
            self._dynamic_member(name, column, attr)
        elif member in ("ip", "addr", "id", "stream_id", "period"):
            if column.name == "period":
                default = str(attr.sample_period)
            self._add(_code(column), self._member(member, default))
        elif not attr.sample_type & BITS.get(member, ~0):
            self._add(_code(column), "0")
        else:
            self._parse()
            mask = (1 << 8 * column.size) - 1
            self._add(_code(column), f"(sample.{member} or 0) & {mask}")

    def _dynamic_member(self, name: str, column: pb.Field, attr: EventAttr) -> None:
        convert, member, bit, absent = DYNAMIC_MEMBERS[column.name]
        if attr.sample_type & bit:
            self._parse()
            self.scope[f"convert_{column.name}"] = convert
            argument = "sample" if column.name == "read" else f"sample.{member}"
            last = f", {attr.read_format}" if column.name == "read" else ""
            self._lines.append(f"{name} = convert_{column.name}({argument}{last})")
        else:
            self.scope[f"absent_{column.name}"] = absent
            self._lines.append(f"{name} = absent_{column.name}")
        self._add_dynamic(name)


def _targets(names: tuple[str, ...]) -> str:
    return "".join(f"{name}, " for name in names) or "()"


def _code(column: pb.Field) -> str:
    if column.kind not in _NUMBERS or column.size not in _UNSIGNED:
        return f"{column.size}s"
    code = _UNSIGNED[column.size]
    return code.lower() if column.kind == pb.FIELD_KIND_SIGNED else code


def _data_slice(data: Buffer, base: int, locator: int, stop: int) -> bytes:
    """Return the data that a locator of the kernel's record leads to, as far as it is there."""
    start = base + (locator & 0xFFFF)
    return data[start : min(start + (locator >> 16 & 0xFFFF), stop)]


def _turned(content: bytes, size: int) -> bytes:
    """Return an array with the bytes of each element the other way round."""
    whole = len(content) // size * size
    turned = [content[at : at + size][::-1] for at in range(0, whole, size)]
    return b"".join([*turned, content[whole:]])
