"""Row layouts: which columns a row has, and where.

Columns are ordered by alignment, so that a row has no holes, every column is
naturally aligned for the BPF program that fills it, and packed for the reader.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Collection
from dataclasses import dataclass, replace

from ptrace_formats.event_format import EventFormat, FormatField
from ptrace_proto import ptrace_pb2 as pb
from ptraced.diagnostics import nearest, printable
from ptraced.errors import TraceError

_DYNAMIC = (pb.FIELD_KIND_DYNAMIC_STRING, pb.FIELD_KIND_DYNAMIC_BYTES)
_ARRAYS = (pb.FIELD_KIND_CHAR_ARRAY, pb.FIELD_KIND_BYTES)
# Where events share a ring, each row has the number of its event before it, u64.
TAG_BYTES = 8
# Offset and length of dynamic data in the row, u32 each.
_LOCATOR_BYTES = 8


# In the kernel's records, but where a BPF program gets those the kernel has put the
# address of its registers (perf_trace_run_bpf_submit, include/trace/perf.h). They are 0.
UNKNOWN_COLUMNS = frozenset(("common_flags", "common_preempt_count"))


class Blank(enum.Enum):
    """What of a column is left out: it reads as 0 or empty then."""

    NOTHING = "nothing"
    # Numbers in the upper half, where the kernel has its addresses on all 64-bit machines that
    # we run on (Documentation/arch/x86/x86_64/mm.rst, Documentation/arch/arm64/memory.rst).
    KERNEL_ADDRESSES = "kernel addresses"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Blanks:
    """The fields of an event that are blank, or have no addresses of the kernel."""

    all: frozenset[str] = frozenset()
    kernel_addresses: frozenset[str] = frozenset()

    def of(self, name: str) -> Blank:
        """What is left out of a field."""
        if name in self.all:
            return Blank.ALL
        return Blank.KERNEL_ADDRESSES if name in self.kernel_addresses else Blank.NOTHING

    @property
    def names(self) -> frozenset[str]:
        """Fields of which anything is left out."""
        return self.all | self.kernel_addresses


NO_BLANKS = Blanks()


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a row; offset and size in bytes. `field` is None for common columns."""

    name: str
    kind: pb.FieldKind
    size: int
    alignment: int
    field: FormatField | None
    offset: int = 0
    blank: Blank = Blank.NOTHING

    @property
    def dynamic(self) -> bool:
        return self.kind in _DYNAMIC


@dataclass(frozen=True, slots=True)
class RowLayout:
    columns: tuple[Column, ...]
    row_size: int
    has_dynamic: bool

    @property
    def stack(self) -> Column | None:
        """The column that has the number of the row's stack."""
        return next((c for c in self.columns if c.kind == pb.FIELD_KIND_STACK), None)

    @property
    def walked(self) -> bool:
        """Whether the programs' rows differ in size, by dynamic data or stacks behind them."""
        return self.has_dynamic or self.stack is not None


_TIME = Column("_time", pb.FIELD_KIND_UNSIGNED, 8, 8, None)
_COMMON = {
    column.name: column
    for column in (
        Column("_pid", pb.FIELD_KIND_SIGNED, 4, 4, None),
        Column("_tid", pb.FIELD_KIND_SIGNED, 4, 4, None),
        Column("_comm", pb.FIELD_KIND_CHAR_ARRAY, 16, 8, None),
        Column("common_flags", pb.FIELD_KIND_UNSIGNED, 1, 1, None),
        Column("common_preempt_count", pb.FIELD_KIND_UNSIGNED, 1, 1, None),
    )
}


_STACK = Column("_callchain", pb.FIELD_KIND_STACK, 4, 4, None)


def lay_out(
    format: EventFormat,
    wanted: Collection[str] | None,
    stack: bool = False,
    blanks: Blanks = NO_BLANKS,
) -> RowLayout:
    """The row with the wanted columns, or with all of them where `wanted` is None.

    `stack` says that the event has stacks. Raises TraceError for a name that it does not have.
    """
    columns = _all_columns(format)
    if stack:
        columns[_STACK.name] = _STACK
    if wanted is not None:
        # Events of one name have one list, and not all of them need to have stacks.
        wanted = [name for name in wanted if stack or name != _STACK.name]
        _check_names(format, wanted, columns)
        columns = {name: column for name, column in columns.items() if name in wanted}
    columns.pop("_time", None)
    placed = [_TIME]
    end = _TIME.size
    for column in sorted(columns.values(), key=lambda column: -column.alignment):
        # What every event has speaks of the task that hit it: no field's name blanks that.
        blank = blanks.of(column.name) if column.field else Blank.NOTHING
        placed.append(replace(column, offset=end, blank=blank))
        end += column.size
    return RowLayout(tuple(placed), end, any(column.dynamic for column in placed))


def _all_columns(format: EventFormat) -> dict[str, Column]:
    columns = {"_time": _TIME} | _COMMON
    for field in format.fields:
        columns.setdefault(field.name, _column(field))
    return columns


def _column(field: FormatField) -> Column:
    if field.kind in _DYNAMIC:
        return Column(field.name, field.kind, _LOCATOR_BYTES, 4, field)
    alignment = field.size
    if field.kind in _ARRAYS:
        alignment = math.gcd(8, field.size, field.offset)
    return Column(field.name, field.kind, field.size, alignment, field)


def _check_names(format: EventFormat, wanted: Collection[str], columns: dict[str, Column]) -> None:
    for name in wanted:
        if name not in columns:
            raise TraceError(
                f"error: {format.system}:{format.name} has no field '{printable(name)}'"
                f"{nearest(name, columns)}"
            )
