"""Which processes the rows of a batch are of."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ptraced.layout import RowLayout

_LENGTH = struct.Struct("<I")
_TIME = struct.Struct("<Q")
_PID = struct.Struct("<i")


def pids_and_times(layout: RowLayout, data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the process and the time (ns) of each row; nothing where rows have no `_pid`."""
    place = next((column.offset for column in layout.columns if column.name == "_pid"), None)
    if place is None:
        return
    at = 0
    while at < len(data):
        size = layout.row_size
        if layout.has_dynamic:
            (size,) = _LENGTH.unpack_from(data, at)
            at += _LENGTH.size
        yield _PID.unpack_from(data, at + place)[0], _TIME.unpack_from(data, at)[0]
        at += size
