"""What a C value is according to BTF: its type as C writes it, its size and sign."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Protocol

from ptrace_proto import ptrace_pb2 as pb
from ptraced.btf_types import (
    ARRAY,
    CONST,
    ENUM,
    ENUM64,
    FLOAT,
    FUNC_PROTO,
    FWD,
    INT,
    PTR,
    RESTRICT,
    STRUCT,
    TYPE_TAG,
    TYPEDEF,
    UNION,
    VOLATILE,
    Type,
)

_INT_SIGNED, _INT_BOOL = 1, 4
_INTEGER_SIZES = (1, 2, 4, 8)
_POINTER_BYTES = 8
# Types that stand for the one that they refer to.
_ALIASES = (TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG)
_QUALIFIERS = {VOLATILE: "volatile", CONST: "const", RESTRICT: "restrict"}
_KEYWORDS = {STRUCT: "struct", UNION: "union", ENUM: "enum", ENUM64: "enum", FWD: "struct"}
# What compilers call these, and how the kernel's sources spell them.
_SPELLINGS = {
    "long int": "long",
    "long unsigned int": "unsigned long",
    "long long int": "long long",
    "long long unsigned int": "unsigned long long",
    "short int": "short",
    "short unsigned int": "unsigned short",
    "_Bool": "bool",
}
# Types of a kernel refer to each other less deep than this.
_DEPTH_MAX = 32
_u32 = struct.Struct("<I")
_ARRAY = struct.Struct("<III")
_PARAMETER = struct.Struct("<II")


class Types(Protocol):
    """The types of a blob by their ids, as seen from it."""

    def type(self, id: int) -> Type:
        """Return a type; raises ValueError for an id that there is not."""

    def members(self, id: int) -> tuple[bytes, int]:
        """Return what follows a type: the data, and where it starts in there."""

    def text(self, name: int) -> str:
        """Return the text of a name."""


@dataclass(frozen=True, slots=True)
class Value:
    """A parameter or a returned value; `name` is empty where it has none, `size` in bytes.

    `kind` is that of a scalar, FIELD_KIND_BYTES of structures and integers of 16 bytes, and
    FIELD_KIND_UNSPECIFIED of floating point numbers.
    """

    name: str
    ctype: str
    kind: pb.FieldKind
    size: int
    signed: bool


def signature(types: Types, id: int) -> tuple[tuple[Value, ...], Value | None]:
    """Return parameters and returned value (None for void) of a FUNC_PROTO.

    What may follow the named parameters of a variadic function is left out.
    """
    type = types.type(id)
    if type.kind != FUNC_PROTO:
        raise ValueError(f"BTF type {id} is no function's")
    parameters = tuple(_value(types, name, of) for name, of in _parameters(types, id) if of)
    returned = None if _is_void(types, type.link) else _value(types, 0, type.link)
    return parameters, returned


def declared(types: Types, id: int, inner: str = "", depth: int = _DEPTH_MAX) -> str:
    """Return a type as C declares `inner`, which is "" for the type itself."""
    if not depth:
        raise ValueError("BTF types without an end")
    if not id:
        return _spaced("void", inner)
    type = types.type(id)
    if type.kind == PTR:
        target = types.type(type.link).kind if type.link else 0
        pointer = f"(*{inner})" if target in (ARRAY, FUNC_PROTO) else f"*{inner}"
        return declared(types, type.link, pointer, depth - 1)
    if type.kind in _QUALIFIERS:
        word = _QUALIFIERS[type.kind]
        if type.link and types.type(type.link).kind == PTR:
            return declared(types, type.link, _spaced(word, inner), depth - 1)
        return f"{word} {declared(types, type.link, inner, depth - 1)}"
    if type.kind == TYPE_TAG:
        return declared(types, type.link, inner, depth - 1)
    if type.kind == ARRAY:
        element, _, count = _unpacked(_ARRAY, types, id)
        return declared(types, element, f"{inner}[{count}]", depth - 1)
    if type.kind == FUNC_PROTO:
        taken = (
            declared(types, of, "", depth - 1) if of else "..." for _, of in _parameters(types, id)
        )
        return declared(types, type.link, f"{inner}({', '.join(taken) or 'void'})", depth - 1)
    return _spaced(_named(types, type), inner)


def _value(types: Types, name: int, id: int) -> Value:
    text = types.text(name)
    ctype = declared(types, id)
    id, type = _resolved(types, id)
    size, signed = type.link, False
    if type.kind == PTR:
        kind, size = pb.FIELD_KIND_POINTER, _POINTER_BYTES
    elif type.kind == FLOAT:
        kind = pb.FIELD_KIND_UNSPECIFIED
    elif type.kind in (INT, ENUM, ENUM64) and size in _INTEGER_SIZES:
        encoding = _unpacked(_u32, types, id)[0] >> 24 if type.kind == INT else int(type.flag)
        signed = bool(encoding & _INT_SIGNED)
        if encoding & _INT_BOOL and size == 1:
            kind = pb.FIELD_KIND_BOOL
        else:
            kind = pb.FIELD_KIND_SIGNED if signed else pb.FIELD_KIND_UNSIGNED
    elif type.kind in (INT, STRUCT, UNION):
        kind = pb.FIELD_KIND_BYTES
    else:
        raise ValueError(f"BTF type {id} is no value's")
    return Value(text, ctype, kind, size, signed)


def _resolved(types: Types, id: int) -> tuple[int, Type]:
    """The type that typedefs and qualifiers stand for."""
    for _ in range(_DEPTH_MAX):
        type = types.type(id)
        if type.kind not in _ALIASES:
            return id, type
        id = type.link
    raise ValueError("BTF types without an end")


def _is_void(types: Types, id: int) -> bool:
    for _ in range(_DEPTH_MAX):
        if not id:
            return True
        type = types.type(id)
        if type.kind not in _ALIASES:
            return False
        id = type.link
    raise ValueError("BTF types without an end")


def _parameters(types: Types, id: int) -> list[tuple[int, int]]:
    """Name and type of each parameter; type 0 stands for `...`."""
    data, at = types.members(id)
    end = at + _PARAMETER.size * types.type(id).length
    return [_PARAMETER.unpack_from(data, start) for start in range(at, end, _PARAMETER.size)]


def _unpacked(layout: struct.Struct, types: Types, id: int) -> tuple[int, ...]:
    data, at = types.members(id)
    return layout.unpack_from(data, at)


def _named(types: Types, type: Type) -> str:
    name = types.text(type.name)
    if type.kind == FWD:
        return f"{'union' if type.flag else 'struct'} {name}"
    if type.kind in _KEYWORDS:
        return f"{_KEYWORDS[type.kind]} {name or '{...}'}"
    return _SPELLINGS.get(name, name)


def _spaced(word: str, inner: str) -> str:
    return f"{word} {inner}" if inner else word
