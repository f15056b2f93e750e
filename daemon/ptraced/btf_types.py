"""The types in a blob of BTF, one after the other (Documentation/bpf/btf.rst of the kernel)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

STRUCT, ENUM, FUNC, ENUM64 = 4, 6, 12, 19

_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_MAGIC = 0xEB9F
# Bytes that follow a type, by kind: at once and for each of its members.
_BEHIND = {
    1: (4, 0),  # INT
    3: (12, 0),  # ARRAY
    STRUCT: (0, 12),
    5: (0, 12),  # UNION
    ENUM: (0, 8),
    13: (0, 8),  # FUNC_PROTO
    14: (4, 0),  # VAR
    15: (0, 12),  # DATASEC
    17: (4, 0),  # DECL_TAG
    ENUM64: (0, 12),
}


class Type(NamedTuple):
    """A type: its kind, how many members it has and where those start in the blob.

    `name` is an offset into the strings. `flag` is the kind_flag: of an enum, that its
    values are signed; of a struct, that it has bit fields.
    """

    kind: int
    name: int
    length: int
    flag: bool
    members: int


def types(data: bytes) -> Iterator[Type]:
    """Yield the types of a blob; raises ValueError where it is not BTF of this byte order."""
    if len(data) < _HEADER.size or _HEADER.unpack_from(data)[0] != _MAGIC:
        raise ValueError("not BTF of this machine's byte order")
    _, _, _, header, offset, length, _, _ = _HEADER.unpack_from(data)
    at = header + offset
    end = at + length
    while at < end:
        name, info, _ = _TYPE.unpack_from(data, at)
        kind, count = info >> 24 & 0x1F, info & 0xFFFF
        at += _TYPE.size
        yield Type(kind, name, count, bool(info >> 31), at)
        fixed, each = _BEHIND.get(kind, (0, 0))
        at += fixed + each * count


def strings(data: bytes) -> int:
    """Return where the section of strings starts, to which names are offsets."""
    _, _, _, header, _, _, offset, _ = _HEADER.unpack_from(data)
    return int(header + offset)
