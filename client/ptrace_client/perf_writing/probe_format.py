"""Formats of events that tracefs does not know: of probes, from the columns of their rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ptrace_proto import ptrace_pb2 as pb

# Common fields of all records, as tracefs has them.
_COMMON: Final = (
    ("unsigned short common_type", 0, 2, 0),
    ("unsigned char common_flags", 2, 1, 0),
    ("unsigned char common_preempt_count", 3, 1, 0),
    ("int common_pid", 4, 4, 1),
)
_COMMON_BYTES: Final = 8
_COLUMNS: Final = frozenset(
    ("_time", "_pid", "_tid", "_comm", "_callchain", "common_flags", "common_preempt_count")
)
_SIGNED: Final = {1: "s8", 2: "s16", 4: "s32", 8: "s64"}
_UNSIGNED: Final = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}
_DYNAMIC: Final = {
    pb.FIELD_KIND_DYNAMIC_STRING: "__data_loc char[]",
    pb.FIELD_KIND_DYNAMIC_BYTES: "__data_loc u8[]",
}
_LOCATOR_BYTES: Final = 4


def probe_format(schema: pb.EventSchema, id: int) -> str:
    """Return the text of a `format` file for an event whose records are to have the type `id`."""
    place = _COMMON_BYTES
    own, words, arguments = "", [], ""
    for name, declaration, size, signed, conversion in _fields(schema):
        place += -place % size if size in _UNSIGNED else 0
        own += _line(declaration, place, size, signed)
        words.append(f"{name}={conversion}")
        dynamic_text = declaration.startswith(_DYNAMIC[pb.FIELD_KIND_DYNAMIC_STRING])
        arguments += f", __get_str({name})" if dynamic_text else f", REC->{name}"
        place += size
    common = "".join(_line(*field) for field in _COMMON)
    return (
        f"name: {schema.alias or schema.name}\nID: {id}\nformat:\n{common}\n{own}\n"
        f'print fmt: "{" ".join(words)}"{arguments}\n'
    )


def _fields(schema: pb.EventSchema) -> Iterator[tuple[str, str, int, int, str]]:
    """Yield name, declaration, bytes in the record, sign and printf conversion of each field."""
    for column in schema.fields:
        name, kind, size = column.name, column.kind, column.size
        if name in _COLUMNS:
            continue
        if kind in _DYNAMIC:
            conversion = "%s" if kind == pb.FIELD_KIND_DYNAMIC_STRING else "%x"
            yield name, f"{_DYNAMIC[kind]} {name}", _LOCATOR_BYTES, 0, conversion
        elif kind == pb.FIELD_KIND_CHAR_ARRAY:
            yield name, f"char {name}[{size}]", size, 0, "%s"
        elif kind == pb.FIELD_KIND_SIGNED and size in _SIGNED:
            yield name, f"{_SIGNED[size]} {name}", size, 1, "%lld" if size == 8 else "%d"
        elif kind != pb.FIELD_KIND_BYTES and size in _UNSIGNED:
            yield name, f"{_UNSIGNED[size]} {name}", size, 0, "0x%llx" if size == 8 else "%u"
        else:
            yield name, f"u8 {name}[{size}]", size, 0, "%p"


def _line(declaration: str, offset: int, size: int, signed: int) -> str:
    return f"\tfield:{declaration};\toffset:{offset};\tsize:{size};\tsigned:{signed};\n"
