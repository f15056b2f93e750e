"""The header of a perf.data file: where its parts lie (tools/perf/util/header.h)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.cursor import damage
from ptrace_client.perf_data.model import Buffer

# The magic number is one of 8 bytes in the byte order of the machine that wrote it.
_LITTLE: Final = b"PERFILE2"
_BIG: Final = _LITTLE[::-1]
# Written up to Linux 3.2; the byte order is then to be guessed from sizes.
_LEGACY: Final = b"PERFFILE"
# Bytes of the header of a file, and of that of what perf writes into a pipe.
HEADER_SIZE: Final = 104
PIPE_HEADER_SIZE: Final = 16
_WITHOUT_FEATURES: Final = 72
_HOSTNAME: Final = 3


class Section(NamedTuple):
    """A part of the file, in bytes."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class FileHeader:
    """`order` is struct's prefix; `attr_size` that of an attr and the section of its ids."""

    order: str
    attr_size: int
    attrs: Section
    data: Section
    # Numbers of the feature sections that follow the data, ascending.
    features: tuple[int, ...]


def byte_order(start: bytes, path: str) -> tuple[str, bool]:
    """Return (struct's prefix, whether it is a pipe) from the first 16 bytes."""
    magic, size = start[:8], start[8:16]
    if magic not in (_LITTLE, _BIG, _LEGACY) or len(size) < 8:
        raise ClientError(f"{path}: this is no perf.data file: it does not start with PERFILE2")
    if magic == _LITTLE:
        order = "<"
    elif magic == _BIG:
        order = ">"
    else:
        # The size of a header is a small number in the order in which it was written.
        order = "<" if int.from_bytes(size, "little") < 1 << 32 else ">"
    number = int.from_bytes(size, "little" if order == "<" else "big")
    return order, number == PIPE_HEADER_SIZE


def read_header(data: Buffer, path: str) -> FileHeader:
    """Read the header of a file. Raise ClientError where it is none or lies."""
    where = f"{path}: header"
    order, _ = byte_order(data[:PIPE_HEADER_SIZE], path)
    length = len(data)
    if length < _WITHOUT_FEATURES:
        raise damage(where, length, "the file ends here")
    size, attr_size, *sections = struct.unpack_from(f"{order}8Q", data, 8)
    if size not in (HEADER_SIZE, _WITHOUT_FEATURES) or length < size:
        raise damage(where, 8, f"the header says that it has {size} bytes")
    if attr_size == 0:
        raise damage(where, 16, "the size of attrs is 0; perf record did not end, so record again")
    features: tuple[int, ...] = ()
    if size == HEADER_SIZE:
        features = _feature_bits(data[_WITHOUT_FEATURES:HEADER_SIZE], order)
    attrs, content = Section(*sections[0:2]), Section(*sections[2:4])
    for name, section in (("attrs", attrs), ("data", content)):
        if section.offset > length or (name == "attrs" and sum(section) > length):
            raise damage(where, 24, f"the section of {name} lies behind the end of the file")
    return FileHeader(order, attr_size, attrs, content, features)


def _feature_bits(bitmap: bytes, order: str) -> tuple[int, ...]:
    """Return the numbers of the bits that are set.

    The bitmap is an array of longs, and nothing says how long these are in a file of a
    big-endian machine. perf's guess is repeated here: the bit of the host's name is always set.
    """
    if order == "<":
        return _bits(bitmap)
    of_64, of_32 = (_bits(_swapped(bitmap, size)) for size in (8, 4))
    return of_32 if _HOSTNAME in of_32 and _HOSTNAME not in of_64 else of_64


def _swapped(bitmap: bytes, size: int) -> bytes:
    starts = range(0, len(bitmap), size)
    return b"".join(bitmap[start : start + size][::-1] for start in starts)


def _bits(bitmap: bytes) -> tuple[int, ...]:
    number = int.from_bytes(bitmap, "little")
    return tuple(bit for bit in range(len(bitmap) * 8) if number >> bit & 1)
