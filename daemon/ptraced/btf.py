"""Layouts of kernel structures, from the kernel's own BTF.

Offsets never come from headers: those may be another kernel's.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from ptraced.btf_types import (
    DATASEC,
    FUNC,
    STRUCT,
    TYPE_BYTES,
    UNION,
    VAR,
    Type,
    strings,
    type_at,
    types,
)
from ptraced.errors import Unavailable

_VMLINUX = Path("/sys/kernel/btf/vmlinux")
# Of a member: name, type, offset in bits; of a variable in a section: type, offset, size.
_THREE = struct.Struct("<III")
_PER_CPU = ".data..percpu"
# Unnamed members of a kernel's structures are nested less deep than this.
_DEPTH_MAX = 16


@lru_cache(maxsize=64)
def member_offset(structure: str, member: str) -> int | None:
    """Bytes from the start of a struct to its member; None where there is no such thing.

    The members of unnamed members are its own, as in C. None, too, where structs of that name
    differ in it. Raises Unavailable on a kernel without BTF. Takes about 0.1 s, once per name.
    """
    try:
        data = _VMLINUX.read_bytes()
        starts, found = _search(data, STRUCT, structure)
        offsets = {
            _offset(data, starts, type_at(data, starts[id - 1]), member.encode()) for id in found
        }
    except (OSError, ValueError) as error:
        raise _unreadable(error) from None
    return offsets.pop() if len(offsets) == 1 else None


def function_id(name: str) -> int | None:
    """The BTF id of a kernel function; None where it has none. Raises Unavailable without BTF."""
    try:
        found = _search(_VMLINUX.read_bytes(), FUNC, name)[1]
    except (OSError, ValueError) as error:
        raise _unreadable(error) from None
    return found[0] if found else None


def per_cpu_offset(variable: str) -> int | None:
    """Bytes from the start of the per-CPU section to a variable; None where it is not in there.

    Raises Unavailable on a kernel without BTF.
    """
    try:
        data = _VMLINUX.read_bytes()
        starts, sections = _search(data, DATASEC, _PER_CPU)
        variables = frozenset(_search(data, VAR, variable)[1])
        offsets = {
            offset
            for id in sections
            for of, offset, _ in _threes(data, type_at(data, starts[id - 1]))
            if of in variables
        }
    except (OSError, ValueError) as error:
        raise _unreadable(error) from None
    return offsets.pop() if len(offsets) == 1 else None


def _unreadable(error: Exception) -> Unavailable:
    return Unavailable(f"error: cannot read the kernel's BTF in {_VMLINUX}: {error}")


def _search(data: bytes, kind: int, name: str) -> tuple[array[int], list[int]]:
    """Where each type's description starts, and the ids of those of a kind and name."""
    start = strings(data)
    # The format keeps each string once; no type has the name -1.
    at = data.find(b"\0" + name.encode() + b"\0", start)
    wanted = at + 1 - start if at >= 0 else -1
    starts, found = array("I"), []
    for number, type in enumerate(types(data), 1):
        starts.append(type.members - TYPE_BYTES)
        if type.kind == kind and type.name == wanted:
            found.append(number)
    return starts, found


def _threes(data: bytes, type: Type) -> Iterator[tuple[int, int, int]]:
    for index in range(type.length):
        yield _THREE.unpack_from(data, type.members + index * _THREE.size)


def _offset(
    data: bytes, starts: array[int], type: Type, member: bytes, depth: int = _DEPTH_MAX
) -> int | None:
    """Bytes to a member of a struct or union; raises ValueError for types without an end."""
    if not depth:
        raise ValueError("types without an end")
    unnamed = []
    section = strings(data)
    for name, of, bits in _threes(data, type):
        offset = (bits & 0xFFFFFF if type.flag else bits) // 8
        start = section + name
        text = data[start : data.index(b"\0", start)]
        if text == member:
            return offset
        if not text:
            unnamed.append((of, offset))
    for of, offset in unnamed:
        if not 0 < of <= len(starts):
            raise ValueError(f"no type {of}")
        inner = type_at(data, starts[of - 1])
        inside = None
        if inner.kind in (STRUCT, UNION):
            inside = _offset(data, starts, inner, member, depth - 1)
        if inside is not None:
            return offset + inside
    return None
