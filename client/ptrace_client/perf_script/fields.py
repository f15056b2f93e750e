"""The values of a record's fields as perf's Python engine passes them.

perf reads every plain field as an unsigned number and gives only those of 8 bytes their sign;
arrays are text as long as they look like it, and bytearrays from the first time on that they do
not (python_process_tracepoint in tools/perf/util/scripting-engines/trace-event-python.c). What it
takes for an array, for text and for dynamic it tells by the declaration alone
(tools/lib/traceevent/event-parse.c, event_read_fields).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from ptrace_client.perf_data.model import Buffer
from ptrace_client.perf_data.places import Place, lay_out
from ptrace_formats.event_format import EventFormat, FormatField

_UNSIGNED: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}
# Values of text that are kept, by the bytes that they were made of.
_REMEMBERED: Final = 4096
# Bytes of a text that is worth it.
_SHORT: Final = 256
# What perf's own isprint() and isspace() take, up to a NUL (tools/lib/ctype.c: Latin-1).
_TEXT: Final = re.compile(rb"[\t-\r -~\xa0-\xff]*\0")


@dataclass(frozen=True, slots=True)
class PerfField:
    """A field as perf sees it. Offset and size in bytes; those of dynamic ones are the locator's.

    `code` is the struct code of a plain number, "" for what perf does not read as one.
    """

    name: str
    offset: int
    size: int
    array: bool
    dynamic: bool
    relative: bool
    text: bool
    code: str


def perf_field(declared: FormatField, *, sane: bool = False) -> PerfField:
    """Return what perf makes of a field's declaration.

    `sane` gives numbers the sign that they are declared with, takes for text what is declared
    as char, and follows locators of what is not declared as an array, too.
    """
    ctype, size = declared.ctype, declared.size
    relative = ctype.startswith("__rel_loc")
    dynamic = relative or ctype.startswith("__data_loc")
    array = "[" in ctype
    text = array and any(word in ctype for word in (("char",) if sane else ("char", "u8", "s8")))
    if sane:
        array = array or dynamic or size not in _UNSIGNED
    code = "" if array else _UNSIGNED.get(size, "")
    if code and declared.signed and (sane or size == 8):
        code = code.lower()
    return PerfField(declared.name, declared.offset, size, array, dynamic, relative, text, code)


class ArrayValues(dict[bytes, str | bytearray]):
    """values[content] is what perf passes for the bytes of an array; one object for a field.

    Text may end where it has its first NUL, if the last byte is one, too. A content that is not
    text makes the field a bytearray for good, as it does in perf.
    """

    __slots__ = ("text",)

    def __init__(self, text: bool) -> None:
        super().__init__()
        self.text = text

    def __missing__(self, content: bytes) -> str | bytearray:
        if self.text:
            value = _text(content)
            if value is not None:
                if len(content) <= _SHORT:
                    if len(self) >= _REMEMBERED:
                        self.clear()
                    self[content] = value
                return value
            self.text = False
            self.clear()
        return bytearray(content)


class SaneValues(ArrayValues):
    """The same where text is always a str, and all else always a bytearray."""

    __slots__ = ()

    def __missing__(self, content: bytes) -> str | bytearray:
        if not self.text:
            return bytearray(content)
        return content.partition(b"\0")[0].decode("utf-8", "backslashreplace")


def _text(content: bytes) -> str | None:
    if content[-1:] != b"\0":
        return None
    match = _TEXT.match(content)
    # Where it is no UTF-8 either, perf dies of it.
    return match[0][:-1].decode("utf-8", "backslashreplace") if match else None


@dataclass(frozen=True)
class FieldCode:
    """How generated code reads the fields of an event from its raw records.

    It unpacks `layout` at the record's start into the variables `names`; then the expressions
    `values`, one for each field in perf's order, hold in a scope that has `scope` and
    `data` (Buffer), `at` and `end` (the record's place in it). Records have to be at least
    layout.size long; see padded().
    """

    layout: Struct
    names: tuple[str, ...]
    fields: tuple[PerfField, ...]
    values: tuple[str, ...]
    scope: dict[str, object] = field(repr=False)

    def reader(self) -> Callable[[Buffer, int, int], tuple[object, ...]]:
        """Return read(data, at, end): the values of the fields of a record, of any length."""
        source = (
            "def read(data, at, end):\n"
            "    if end - at < layout_size:\n"
            "        data, at, end = padded(data, at, end, layout_size)\n"
            f"    {_tuple(self.names)} = unpack(data, at)\n"
            f"    return {_tuple(self.values)}\n"
        )
        scope = {
            **self.scope,
            "unpack": self.layout.unpack_from,
            "layout_size": self.layout.size,
            "padded": padded,
        }
        exec(source, scope)
        read: Callable[[Buffer, int, int], tuple[object, ...]] = scope["read"]  # type: ignore[assignment]
        return read


def field_code(
    format: EventFormat, *, big_endian: bool = False, sane: bool = False, common: Sequence[str] = ()
) -> FieldCode:
    """Return how to read the records of an event.

    `common` names common fields, which are put into variables of their names, signed as declared.
    Every call gives the arrays a new state: there is to be one for an event.
    """
    order = ">" if big_endian else "<"
    fields = tuple(perf_field(declared, sane=sane) for declared in format.fields)
    # What the format does not have is 0, as a global of the generated code.
    scope: dict[str, object] = dict.fromkeys(common, 0)
    places = _common_places(format, common)
    values = []
    for number, each in enumerate(fields):
        name = f"v{number}"
        if each.array:
            scope[f"c{number}"] = (SaneValues if sane else ArrayValues)(each.text)
        value, code = _value(each, name, number), _place_code(each)
        place = Place(each.offset, each.size, code, name)
        if code and any(_overlap(place, other) for other in places[: len(common)]):
            value = _read_apart(place, value, order, scope)
        elif code:
            places.append(place)
        values.append(value)
    layout, names, late = lay_out(places, order)
    for place in late:
        number = int(place.name[1:])
        values[number] = _read_apart(place, values[number], order, scope)
    return FieldCode(layout, names, fields, tuple(values), scope)


def _common_places(format: EventFormat, wanted: Sequence[str]) -> list[Place]:
    """Return where the wanted common fields lie, of those that lie apart."""
    places: list[Place] = []
    for declared in format.common:
        code = _UNSIGNED.get(declared.size)
        if declared.name in wanted and code:
            code = code.lower() if declared.signed else code
            place = Place(declared.offset, declared.size, code, declared.name)
            if not any(_overlap(place, other) for other in places):
                places.append(place)
    return places


def _overlap(one: Place, other: Place) -> bool:
    return one.offset < other.offset + other.size and other.offset < one.offset + one.size


def _place_code(each: PerfField) -> str:
    """Return the struct code of what lies in the record itself, "" for what is not read."""
    if each.array and not each.dynamic:
        return f"{each.size}s"
    return _UNSIGNED.get(each.size, "") if each.array else each.code


def _read_apart(place: Place, value: str, order: str, scope: dict[str, object]) -> str:
    """Return the value of a field that is not unpacked with the others."""
    scope[f"unpack_{place.name}"] = Struct(order + place.code).unpack_from
    reading = f"unpack_{place.name}(data, at + {place.offset})[0]"
    return re.sub(rf"\b{place.name}\b", reading, value)


def padded(data: Buffer, at: int, end: int, size: int) -> tuple[bytes, int, int]:
    """Return a record that is too short as one of `size` bytes, zeros at its end, and its place."""
    return data[at:end].ljust(size, b"\0"), 0, size


def _value(each: PerfField, name: str, number: int) -> str:
    if each.array and each.dynamic:
        if each.size not in _UNSIGNED:
            return f'c{number}[b""]'
        base = f"at + {each.offset + each.size}" if each.relative else "at"
        start, stop = f"start{number}", f"stop{number}"
        return (
            f"c{number}[data[({start} := {base} + ({name} & 65535)) : {stop}"
            f" if ({stop} := {start} + ({name} >> 16 & 65535)) < end else end]]"
        )
    if each.array:
        return f"c{number}[{name}]"
    return name if each.code else "0"


def _tuple(parts: Iterable[str]) -> str:
    return "(" + "".join(f"{part}, " for part in parts) + ")"
