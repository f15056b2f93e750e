"""The types in a blob of BTF, one after the other (Documentation/bpf/btf.rst of the kernel)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT = range(1, 12)
FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(12, 20)

_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
# Bytes of a type's description before what depends on its kind.
TYPE_BYTES = _TYPE.size
_MAGIC = 0xEB9F
# Bytes that follow a type, by kind: at once and for each of its members.
_BEHIND = {
    INT: (4, 0),
    ARRAY: (12, 0),
    STRUCT: (0, 12),
    UNION: (0, 12),
    ENUM: (0, 8),
    FUNC_PROTO: (0, 8),
    VAR: (4, 0),
    DATASEC: (0, 12),
    DECL_TAG: (4, 0),
    ENUM64: (0, 12),
}


class Type(NamedTuple):
    """A type: its kind, how many members it has and where those start in the blob.

    `name` is an offset into the strings. `flag` is the kind_flag: of an enum, that its
    values are signed; of a struct, that it has bit fields. `link` is the size in bytes, or
    the type that it refers to, by kind.
    """

    kind: int
    name: int
    length: int
    flag: bool
    members: int
    link: int


def types(data: bytes) -> Iterator[Type]:
    """Yield the types of a blob; raises ValueError where it is not whole BTF of this byte order."""
    header = _header(data)
    at, end = header.types, header.types + header.types_size
    while at < end:
        type = type_at(data, at)
        fixed, each = _BEHIND.get(type.kind, (0, 0))
        at = type.members + fixed + each * type.length
        if at > end:
            raise ValueError("truncated BTF")
        yield type


def type_at(data: bytes, at: int) -> Type:
    """Return the type whose description starts at data[at]; raises ValueError."""
    try:
        name, info, link = _TYPE.unpack_from(data, at)
    except struct.error:
        raise ValueError("truncated BTF") from None
    return Type(info >> 24 & 0x1F, name, info & 0xFFFF, bool(info >> 31), at + TYPE_BYTES, link)


def strings(data: bytes) -> int:
    """Return where the section of strings starts, to which names are offsets."""
    return _header(data).strings


def strings_size(data: bytes) -> int:
    """Return the bytes in the section of strings."""
    return _header(data).strings_size


class _Header(NamedTuple):
    types: int
    types_size: int
    strings: int
    strings_size: int


def _header(data: bytes) -> _Header:
    if len(data) < _HEADER.size or _HEADER.unpack_from(data)[0] != _MAGIC:
        raise ValueError("not BTF of this machine's byte order")
    _, _, _, header, types, types_size, strings, strings_size = _HEADER.unpack_from(data)
    if header + max(types + types_size, strings + strings_size) > len(data):
        raise ValueError("truncated BTF")
    return _Header(header + types, types_size, header + strings, strings_size)
