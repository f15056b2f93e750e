"""Values of the kernel's enumerators, from its BTF.

Formats in tracefs keep the names of enumerators that the kernel's sources do not list
in TRACE_DEFINE_ENUM(), such as IOPRIO_CLASS_BE or TCP_ESTABLISHED.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from ptraced.btf_types import ENUM, ENUM64, Type, strings, types

# Of an enumerator, by kind of the enum and whether it is signed. An ENUM64 has its
# value in two halves, the lower one first.
_LAYOUTS = {
    (ENUM, False): struct.Struct("<II"),
    (ENUM, True): struct.Struct("<Ii"),
    (ENUM64, False): struct.Struct("<IQ"),
    (ENUM64, True): struct.Struct("<Iq"),
}
_VMLINUX = Path("/sys/kernel/btf/vmlinux")


def value_in_kernel(name: str) -> int | None:
    """Return the value of an enumerator of the running kernel, None where it is not known."""
    return of_kernel().get(name)


@cache
def of_kernel() -> Mapping[str, int]:
    """Return the enumerators of the running kernel; none where it has no BTF.

    Takes about 0.1 s the first time.
    """
    try:
        return MappingProxyType(enumerators(_VMLINUX.read_bytes()))
    except (OSError, ValueError):
        return MappingProxyType({})


def enumerators(data: bytes) -> dict[str, int]:
    """Return name and value of the enumerators in a blob of BTF.

    A name that enums of different source files use for different values is left out.
    Raises ValueError where the blob is not BTF of this byte order.
    """
    found: dict[int, int] = {}
    ambiguous = set()
    for type in types(data):
        for name, value in _members(data, type):
            if found.setdefault(name, value) != value:
                ambiguous.add(name)
    start = strings(data)
    return {
        data[start + name : data.index(b"\0", start + name)].decode(): value
        for name, value in found.items()
        if name not in ambiguous
    }


def _members(data: bytes, type: Type) -> Iterable[tuple[int, int]]:
    """Offset of the name, and value, of every enumerator of a type."""
    layout = _LAYOUTS.get((type.kind, type.flag))
    if layout is None:
        return ()
    return layout.iter_unpack(data[type.members : type.members + layout.size * type.length])
