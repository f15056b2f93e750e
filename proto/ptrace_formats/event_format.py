"""An event as its `format` file describes it: where its fields lie in a record.

How the kernel writes its lines is __trace_define_field and f_show in
kernel/trace/trace_events.c; Documentation/trace/events.rst, "Event formats", explains them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ptrace_formats.c_types import named_type
from ptrace_proto import ptrace_pb2 as pb

_FIELD = re.compile(
    r"\tfield:(?P<declaration>[^;]*);\toffset:(?P<offset>\d+);\t"
    r"size:(?P<size>\d+);(?:\tsigned:(?P<signed>[01]);)?"
)
_DECLARATION = re.compile(
    r"(?P<locator>__data_loc |__rel_loc )?(?P<type>.*?)\s*"
    r"\b(?P<name>[A-Za-z_]\w*)(?P<array>(?:\[[^]]*\])*)"
)
_INTEGER_SIZES = (1, 2, 4, 8)
# Of a record, which locators of dynamic data can reach.
_RECORD_BYTES = 1 << 16


# The kernel's own are shorter than 8 KiB; recordings may come from anyone.
_TEXT_CHARACTERS = 1 << 20


class FormatError(ValueError):
    """A text is not what the kernel writes into a `format` file."""


@dataclass(frozen=True, slots=True)
class FormatField:
    """A field of a record; sizes and offset in bytes.

    Of dynamic fields offset and size are those of the locator, a u32: length of the data
    << 16 | where it starts, counted from the start of the record, or from the end of the
    locator if `relative`. element_size and element_signed are of the elements of an array,
    and those of the field itself otherwise. `pointed` is not 0 for text in user memory that a
    pointer in the record leads to: the most bytes that are read of it, the closing NUL included.
    """

    name: str
    ctype: str
    kind: pb.FieldKind
    offset: int
    size: int
    signed: bool
    element_size: int
    element_signed: bool
    relative: bool
    pointed: int = 0


@dataclass(frozen=True, slots=True)
class EventFormat:
    """What the `format` file of an event says; `id` is the common_type of its records."""

    system: str
    name: str
    id: int
    common: tuple[FormatField, ...]
    fields: tuple[FormatField, ...]
    print_fmt: str
    # All of the file; empty where there is none.
    text: str = field(default="", repr=False, compare=False)

    @property
    def title(self) -> str:
        """What users call it: "system:name", or the name alone of events without a system."""
        return f"{self.system}:{self.name}" if self.system else self.name

    def field(self, name: str) -> FormatField | None:
        """Return the event's own field of that name; common fields are not looked at."""
        return next((field for field in self.fields if field.name == name), None)


def parse_format(system: str, text: str) -> EventFormat:
    """Parse the text of a `format` file. Raise FormatError where it is none."""
    if len(text) > _TEXT_CHARACTERS:
        raise FormatError(f"it has {len(text)} characters")
    head, _, print_fmt = text.partition("\nprint fmt: ")
    name = re.search(r"^name: (.*)$", head, re.MULTILINE)
    event_id = re.search(r"^ID: (\d+)$", head, re.MULTILINE)
    if name is None or event_id is None:
        raise FormatError("it has no name or no ID")
    # A blank line separates the fields that all events have from the event's own.
    common, _, own = head.partition("format:\n")[2].partition("\n\n")
    return EventFormat(
        system=system,
        name=name[1],
        id=int(event_id[1]),
        common=tuple(_fields(common)),
        fields=tuple(_fields(own)),
        print_fmt=print_fmt.removesuffix("\n"),
        text=text,
    )


def _fields(text: str) -> Iterator[FormatField]:
    for line in _FIELD.finditer(text):
        declared = _DECLARATION.fullmatch(line["declaration"])
        if declared is None:
            raise FormatError(f"unknown field: {line['declaration']}")
        yield _field(line, declared)


def _field(line: re.Match[str], declared: re.Match[str]) -> FormatField:
    locator, base, array = declared["locator"] or "", declared["type"], declared["array"]
    size, signed = int(line["size"]), line["signed"] == "1"
    if size + int(line["offset"]) > _RECORD_BYTES:
        raise FormatError(f"a field that no record has room for: {line['declaration']}")
    words = [word for word in base.replace("[]", "").split() if word not in ("const", "volatile")]
    element_size, element_signed = size, signed
    if locator:
        kind = pb.FIELD_KIND_DYNAMIC_STRING if words == ["char"] else pb.FIELD_KIND_DYNAMIC_BYTES
        element_size, element_signed = _element(words)
    elif array:
        kind = pb.FIELD_KIND_CHAR_ARRAY if words == ["char"] else pb.FIELD_KIND_BYTES
        element_size = _element(words)[0]
    else:
        kind = _scalar_kind(words, size, signed)
    return FormatField(
        name=declared["name"],
        ctype=f"{locator}{base}{array}",
        kind=kind,
        offset=int(line["offset"]),
        size=size,
        signed=signed,
        element_size=element_size,
        element_signed=element_signed,
        relative=locator == "__rel_loc ",
    )


def _scalar_kind(words: list[str], size: int, signed: bool) -> pb.FieldKind:
    if "*" in "".join(words):
        return pb.FIELD_KIND_POINTER
    if words[:1] in (["struct"], ["union"]) or size not in _INTEGER_SIZES:
        return pb.FIELD_KIND_BYTES
    if size == 1 and words in (["bool"], ["_Bool"]):
        return pb.FIELD_KIND_BOOL
    return pb.FIELD_KIND_SIGNED if signed else pb.FIELD_KIND_UNSIGNED


def _element(words: list[str]) -> tuple[int, bool]:
    """Size in bytes and sign of an array's elements; single bytes where the type is unknown."""
    if "*" in "".join(words):
        return 8, False
    if words == ["cpumask_t"]:
        # Bits in an array of unsigned long (include/linux/cpumask_types.h).
        return 8, False
    known = named_type(words)
    return (max(known.bits // 8, 1), known.signed) if known else (1, False)
