"""Which processes the rows of a batch are of."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptraced.layout import RowLayout

_LENGTH = struct.Struct("<I")
_TIME = struct.Struct("<Q")
_PID = struct.Struct("<i")


def rows_of(layout: RowLayout, data: bytes, wanted: Collection[int]) -> Iterator[tuple[int, int]]:
    """Yield process and time (ns) of the rows of `wanted` processes.

    Yields nothing where rows have no `_pid`.
    """
    place = next((column.offset for column in layout.columns if column.name == "_pid"), None)
    if place is None:
        return
    if layout.has_dynamic:
        yield from _walked(data, place, wanted)
        return
    names = ["time", "pid"]
    row = {
        "names": names,
        "formats": ["<u8", "<i4"],
        "offsets": [0, place],
        "itemsize": layout.row_size,
    }
    rows: NDArray[Any] = np.frombuffer(data, np.dtype(row))  # type: ignore[call-overload]
    found = rows[np.isin(rows["pid"], list(wanted))]
    yield from zip(found["pid"].tolist(), found["time"].tolist(), strict=True)


def _walked(data: bytes, place: int, wanted: Collection[int]) -> Iterator[tuple[int, int]]:
    at = 0
    while at < len(data):
        start = at + _LENGTH.size
        at = start + _LENGTH.unpack_from(data, at)[0]
        (pid,) = _PID.unpack_from(data, start + place)
        if pid in wanted:
            yield pid, _TIME.unpack_from(data, start)[0]
