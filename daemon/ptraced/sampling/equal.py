"""Samples that all have one size, as arrays: rows of all of them are made at once."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from ptrace_formats.members import DYNAMIC
from ptrace_proto import ptrace_pb2 as pb
from ptraced.layout import Column
from ptraced.rows import Rows
from ptraced.sampling.layout import SampleFormat
from ptraced.sampling.masking import UPPER_HALF
from ptraced.sampling.shape import Shape

# How columns are packed, by kind and size.
CODES = {
    pb.FIELD_KIND_SIGNED: {4: "i", 8: "q"},
    pb.FIELD_KIND_UNSIGNED: {2: "H", 4: "I", 8: "Q"},
    pb.FIELD_KIND_POINTER: {8: "Q"},
    pb.FIELD_KIND_STACK: {4: "I"},
    pb.FIELD_KIND_CHAR_ARRAY: {16: "16s"},
}
_NUMPY = {"Q": "u8", "I": "u4", "H": "u2", "i": "i4"}
_HEADER_BYTES = 8
_LENGTH_BYTES = 4


class EqualSamples:
    """Rows of samples of one shape. `record` is a whole record in the ring."""

    def __init__(self, format: SampleFormat) -> None:
        self._format = format
        self._columns = format.layout.columns
        self.record = _record_type(format.shape)
        self._row = _row_type(format)

    def rows(self, records: npt.NDArray[np.void]) -> Rows:
        """A batch of records."""
        made = np.empty(len(records), self._row)
        for name, value in self._lengths().items():
            made[name] = value
        for column in self._columns:
            name = _data_of(column) if column.kind in DYNAMIC else column.name
            made[name] = self._values(column, records)
        first, last = int(made["_time"][0]), int(made["_time"][-1])
        return Rows(0, len(made), made.tobytes(), first, last)

    def _values(self, column: Column, records: npt.NDArray[np.void]) -> npt.ArrayLike:
        """What a column has in each row."""
        constant = self._format.constants.get(column.name)
        if isinstance(constant, bytes):
            return np.frombuffer(constant, "u1")
        if constant is not None:
            return constant
        if column.name == "_comm":
            return self._names(records["_tid"])
        values = records[column.name]
        if column.name in self._format.masked:
            return np.where(values >= np.uint64(UPPER_HALF), np.uint64(0), values)
        return values

    def _lengths(self) -> dict[str, int]:
        """The parts of a row that tell where its dynamic data lies."""
        lengths: dict[str, int] = {}
        end = self._format.layout.row_size
        for column in self._columns:
            if column.kind in DYNAMIC:
                size = _data_bytes(self._format, column)
                lengths |= {_offset_of(column): end, _length_of(column): size}
                end += size
        return lengths | {"length": end} if lengths else {}

    def _names(self, tids: npt.NDArray[np.int32]) -> npt.NDArray[np.bytes_]:
        distinct, places = np.unique(tids, return_inverse=True)
        names = [self._format.comm_of(int(tid)) for tid in distinct]
        return np.array(names, "S16")[places]


def _record_type(shape: Shape) -> np.dtype[np.void]:
    names, formats, offsets = ["header"], ["<u8"], [0]
    at = _HEADER_BYTES
    for _, columns, packing in shape.parts():
        if columns == ("read",):
            codes = [f"V{shape.read_bytes}"]
        else:
            codes = [f"<{_NUMPY[code]}" for code in packing if code in _NUMPY]
        place = at
        for name, code in zip(columns, codes, strict=True):
            names.append(name)
            formats.append(code)
            offsets.append(place)
            place += np.dtype(code).itemsize
        at += struct.calcsize(f"<{packing}")
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": at})


def _row_type(format: SampleFormat) -> np.dtype[np.void]:
    """A row, with its length before it where it has dynamic data."""
    layout = format.layout
    start = _LENGTH_BYTES if layout.has_dynamic else 0
    names, formats, offsets = [], [], []
    if start:
        names, formats, offsets = ["length"], ["<u4"], [0]
    end = start + layout.row_size
    for column in layout.columns:
        place = start + column.offset
        if column.kind in DYNAMIC:
            names += [_offset_of(column), _length_of(column), _data_of(column)]
            size = _data_bytes(format, column)
            # Bytes of a constant one by one: NumPy has no elements of no bytes.
            data = f"({size},)u1" if column.name in format.constants else f"V{size}"
            formats += ["<u4", "<u4", data]
            offsets += [place, place + 4, end]
            end += size
        else:
            names.append(column.name)
            formats.append(_numpy_code(column))
            offsets.append(place)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": end})


def _data_bytes(format: SampleFormat, column: Column) -> int:
    """Bytes of a column's dynamic data, of which all rows have as many."""
    constant = format.constants.get(column.name)
    return len(constant) if isinstance(constant, bytes) else format.shape.read_bytes


def _numpy_code(column: Column) -> str:
    code = CODES[column.kind][column.size]
    return "S16" if code == "16s" else f"<{code}"


def _offset_of(column: Column) -> str:
    return f"{column.name}.offset"


def _length_of(column: Column) -> str:
    return f"{column.name}.length"


def _data_of(column: Column) -> str:
    return f"{column.name}.data"
