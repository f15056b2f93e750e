"""Layouts of kernel structures, from the kernel's own BTF.

Offsets never come from headers: those may be another kernel's.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from pathlib import Path

from ptraced.btf_types import FUNC, STRUCT, Type, strings, types
from ptraced.errors import Unavailable

_VMLINUX = Path("/sys/kernel/btf/vmlinux")
_MEMBER = struct.Struct("<III")


@lru_cache(maxsize=64)
def member_offset(structure: str, member: str) -> int | None:
    """Bytes from the start of a struct to its member; None where there is no such thing.

    Members of unnamed members are not found. Raises Unavailable on a kernel without BTF.
    Takes about 0.1 s, once per name.
    """
    try:
        data = _VMLINUX.read_bytes()
        start = strings(data)
        # The format keeps each string once.
        name = data.find(b"\0" + structure.encode() + b"\0", start) + 1 - start
        for type in types(data):
            if type.kind == STRUCT and type.name == name:
                return _offset(data, type, member.encode())
    except (OSError, ValueError) as error:
        raise Unavailable(f"error: cannot read the kernel's BTF in {_VMLINUX}: {error}") from None
    return None


def function_id(name: str) -> int | None:
    """The BTF id of a kernel function; None where it has none. Raises Unavailable without BTF."""
    try:
        data = _VMLINUX.read_bytes()
        start = strings(data)
        wanted = data.find(b"\0" + name.encode() + b"\0", start) + 1 - start
        for number, type in enumerate(types(data), 1):
            if type.kind == FUNC and type.name == wanted:
                return number
    except (OSError, ValueError) as error:
        raise Unavailable(f"error: cannot read the kernel's BTF in {_VMLINUX}: {error}") from None
    return None


def _offset(data: bytes, type: Type, member: bytes) -> int | None:
    for index in range(type.length):
        name, _, bits = _MEMBER.unpack_from(data, type.members + index * _MEMBER.size)
        start = strings(data) + name
        if data[start : data.index(b"\0", start)] == member:
            return int(bits & 0xFFFFFF if type.flag else bits) // 8
    return None
