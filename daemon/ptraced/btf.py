"""Layouts of kernel structures, from the kernel's own BTF in /sys/kernel/btf/vmlinux.

Offsets never come from headers: those may be another kernel's. The format is
Documentation/bpf/btf.rst in the kernel's tree.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from pathlib import Path

from ptraced.errors import Unavailable

_VMLINUX = Path("/sys/kernel/btf/vmlinux")
_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_MEMBER = struct.Struct("<III")
_MAGIC = 0xEB9F
_STRUCT = 4
# Bytes that follow a type: (fixed, per element), by kind; none for the others.
_EXTRA = {
    1: (4, 0),  # INT
    3: (12, 0),  # ARRAY
    4: (0, 12),  # STRUCT
    5: (0, 12),  # UNION
    6: (0, 8),  # ENUM
    13: (0, 8),  # FUNC_PROTO
    14: (4, 0),  # VAR
    15: (0, 12),  # DATASEC
    17: (4, 0),  # DECL_TAG
    19: (0, 12),  # ENUM64
}


@lru_cache(maxsize=64)
def member_offset(structure: str, member: str) -> int | None:
    """Bytes from the start of a struct to its member; None where there is no such thing.

    Only members by name are found, not those of unnamed members. Raises Unavailable
    on a kernel without BTF. Takes about 0.1 s, once per name.
    """
    try:
        data = _VMLINUX.read_bytes()
    except FileNotFoundError:
        raise Unavailable(f"error: this kernel has no {_VMLINUX} (CONFIG_DEBUG_INFO_BTF)") from None
    return _search(data, structure.encode(), member.encode())


def _search(data: bytes, structure: bytes, member: bytes) -> int | None:
    magic, _, _, length, type_at, type_length, string_at, _ = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise Unavailable(f"error: {_VMLINUX} is not BTF of this machine's byte order")
    strings = length + string_at
    wanted = _string_offsets(data, strings, structure)
    at = length + type_at
    end = at + type_length
    while at < end:
        name, info, _ = _TYPE.unpack_from(data, at)
        kind, count = info >> 24 & 0x1F, info & 0xFFFF
        at += _TYPE.size
        if kind == _STRUCT and name in wanted:
            return _member(data, at, count, info >> 31, strings, member)
        fixed, each = _EXTRA.get(kind, (0, 0))
        at += fixed + each * count
    return None


def _string_offsets(data: bytes, strings: int, name: bytes) -> set[int]:
    """Where a name lies in the string section; BTF keeps each string once."""
    found = data.find(b"\0" + name + b"\0", strings)
    return {found + 1 - strings} if found >= 0 else set()


def _member(
    data: bytes, at: int, count: int, has_bitfields: int, strings: int, member: bytes
) -> int | None:
    for index in range(count):
        name, _, bits = _MEMBER.unpack_from(data, at + index * _MEMBER.size)
        start = strings + name
        if data[start : data.index(b"\0", start)] == member:
            return (bits & 0xFFFFFF if has_bitfields else bits) // 8
    return None
