"""What a batch handler gets: the rows of a batch as a NumPy structured array, not copied."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrace_client.decode import DYNAMIC_KINDS, RowLayout, event_name
from ptrace_client.event_fields import chain_key, derived_columns, is_sample
from ptrace_client.losses import Gap
from ptrace_client.stacks import Stacks, StackTable
from ptrace_proto import ptrace_pb2 as pb

_LETTERS = {
    pb.FIELD_KIND_SIGNED: "i",
    pb.FIELD_KIND_UNSIGNED: "u",
    pb.FIELD_KIND_POINTER: "u",
    pb.FIELD_KIND_BOOL: "u",
    pb.FIELD_KIND_STACK: "u",
    pb.FIELD_KIND_CHAR_ARRAY: "S",
}


class EventBatch(np.ndarray[Any, Any]):
    """Events of one type from one CPU, in the order in which they happened.

    `event` is "sched:sched_switch" (or "sched:ALIAS") and `cpu` a number. `lost` counts the
    events that this CPU lost since the batch before. `start` and `end` (CLOCK_MONOTONIC, ns)
    are the time range of the events, lost ones included. `stacks` has the call chains by the
    numbers in the column of call chains.
    """

    event: str
    cpu: int
    lost: int
    start: int
    end: int
    stacks: Stacks
    _derived: dict[str, tuple[str | None, int]]

    def __array_finalize__(self, source: Any) -> None:
        """Hand the attributes on to slices and views."""
        if isinstance(source, EventBatch) and hasattr(source, "event"):
            self.event, self.cpu, self.lost = source.event, source.cpu, source.lost
            self.start, self.end = source.start, source.end
            self.stacks = source.stacks
            self._derived = source._derived

    def __getitem__(self, key: Any) -> Any:
        """Return a column for a name, else what any array gives."""
        if not isinstance(key, str):
            return super().__getitem__(key)
        if key not in (self.dtype.names or ()) and key in self._derived:
            column, number = self._derived[key]
            if column is None:
                return np.full(self.shape, number, np.int64)
            # Signed, as uint64 and int64 together would become floating point.
            return self[column].astype(np.int64) + number if number else self[column]
        column_view: NDArray[Any] = super().__getitem__(key)
        return column_view.view(np.ndarray) if isinstance(column_view, EventBatch) else column_view


class BatchDecoder:
    """Makes the arrays of one schema out of its batches."""

    def __init__(
        self, schema: pb.EventSchema, realtime_offset: int, stacks: StackTable | None = None
    ) -> None:
        self._layout = RowLayout(schema)
        self._event = event_name(schema)
        self._has_dynamic = schema.has_dynamic
        self._stacks = StackTable() if stacks is None else stacks
        self._common: dict[str, tuple[str | None, int]] = {
            key: (base, realtime_offset if key == "_realtime" else 0)
            for key, base in derived_columns(schema).items()
        }
        if not is_sample(schema):
            self._common["_period"] = (None, 1)
            self._common["common_type"] = (None, schema.common_type)
        # Where there are no stacks.
        self._common[chain_key(schema)] = (None, 0)
        # Keys whose value is the CPU of the batch.
        self._cpu_keys = ("_cpu", "cpu") if is_sample(schema) else ("_cpu",)
        fields = self._layout.fields
        self._dtype = np.dtype(
            {
                "names": [field.name for field in fields],
                "formats": [_format(field) for field in fields],
                "offsets": [field.offset for field in fields],
                "itemsize": schema.row_size,
            }
        )

    def decode(self, batch: pb.Batch, gap: Gap, limit: int | None = None) -> EventBatch:
        """Return the first `limit` rows of a batch; `gap` is what was lost before them."""
        if self._has_dynamic:
            rows = _pad_dynamic(list(self._layout.rows(batch)), self._layout)
        else:
            rows = np.frombuffer(self._layout.fixed_rows(batch), self._dtype)
        array = rows[:limit].view(EventBatch)
        times = array["_time"]
        first, last = (int(times[0]), int(times[-1])) if len(times) else (gap.start, gap.end)
        array.event, array.cpu, array.lost = self._event, batch.cpu, gap.count
        array.start = min(first, gap.start) if gap.count else first
        array.end = max(last, gap.end)
        array._derived = {**self._common, **dict.fromkeys(self._cpu_keys, (None, batch.cpu))}
        array.stacks = self._stacks.of(self._stack_numbers(rows))
        return array

    def _stack_numbers(self, rows: NDArray[Any]) -> list[int]:
        place = self._layout.stack_index
        if place is None:
            return []
        numbers: list[int] = np.unique(rows[self._layout.fields[place].name]).tolist()
        return numbers


def _format(field: pb.Field) -> str:
    letter = _LETTERS.get(field.kind, "V")
    return f"{'<' if letter in 'iu' else ''}{letter}{field.size}"


def _pad_dynamic(rows: list[tuple[Any, ...]], layout: RowLayout) -> NDArray[Any]:
    """Lay rows with dynamic data out anew: strings as wide as the longest, arrays as bytes."""
    columns: list[NDArray[Any]] = []
    for index, field in enumerate(layout.fields):
        if field.kind not in DYNAMIC_KINDS:
            values = [row[index] for row in rows]
            columns.append(np.array(values, dtype=_format(field)))
            continue
        data = [row[-1][(row[index] & 0xFFFFFFFF) :][: row[index] >> 32] for row in rows]
        if field.kind == pb.FIELD_KIND_DYNAMIC_STRING:
            width = max(map(len, data), default=1)
            columns.append(np.array(data, dtype=f"S{max(width, 1)}"))
        else:
            column = np.empty(len(rows), dtype=object)
            column[:] = data
            columns.append(column)
    dtype = np.dtype([(f.name, c.dtype) for f, c in zip(layout.fields, columns, strict=True)])
    padded = np.empty(len(rows), dtype)
    for field, column in zip(layout.fields, columns, strict=True):
        padded[field.name] = column
    return padded
