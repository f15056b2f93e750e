"""Row layouts of sampled events: as layout.py, of the members of samples."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from ptrace_formats.event_format import EventFormat
from ptrace_formats.members import BY_NAME, CALLCHAIN_COLUMN, DYNAMIC, MEMBERS
from ptrace_proto import ptrace_pb2 as pb
from ptraced.diagnostics import nearest, printable
from ptraced.errors import TraceError
from ptraced.layout import NO_BLANKS, Blank, Blanks, Column, RowLayout
from ptraced.sampling.shape import Shape

_TIME = Column("_time", pb.FIELD_KIND_UNSIGNED, 8, 8, None)
_COMM = Column("_comm", pb.FIELD_KIND_CHAR_ARRAY, 16, 8, None)
_STACK = Column(CALLCHAIN_COLUMN, pb.FIELD_KIND_STACK, 4, 4, None)
_COMMON = (
    _TIME,
    Column("_pid", pb.FIELD_KIND_SIGNED, 4, 4, None),
    Column("_tid", pb.FIELD_KIND_SIGNED, 4, 4, None),
)


@dataclass(frozen=True, slots=True)
class SampleFormat:
    """How samples become rows.

    `constants` are values of columns that the kernel was not asked for, bytes of those with
    dynamic data; `depth` the frames that are kept of a stack's kernel's and user's part, `comm_of`
    gives a thread's name.
    """

    shape: Shape
    layout: RowLayout
    constants: dict[str, int | bytes] = field(default_factory=dict)
    depth: tuple[int, int] = (127, 127)
    comm_of: Callable[[int], bytes] = lambda tid: b""

    @property
    def masked(self) -> frozenset[str]:
        """Columns that have no addresses of the kernel."""
        return frozenset(
            column.name for column in self.layout.columns if column.blank is Blank.KERNEL_ADDRESSES
        )


def lay_out_sample(
    format: EventFormat,
    wanted: Collection[str] | None,
    stack: bool = False,
    blanks: Blanks = NO_BLANKS,
) -> RowLayout:
    """The row with the wanted columns, or where `wanted` is None with those that samples have
    unless asked otherwise.

    `time`, `pid` and `tid` are the columns `_time`, `_pid` and `_tid`, and `cpu` that of the
    batch: they have no columns of their own. `stack` says that the event has stacks. Raises
    TraceError for a name that it does not have.
    """
    columns = {column.name: column for column in _COMMON}
    for member in MEMBERS:
        if member.column is None:
            alignment = 4 if member.kind in DYNAMIC else member.size
            columns[member.name] = Column(member.name, member.kind, member.size, alignment, None)
    columns["_comm"] = _COMM
    if stack:
        columns[_STACK.name] = _STACK
    if wanted is None:
        names = _default_names()
    else:
        # Events of one name have one list, and not all of them need to have stacks.
        wanted = [name for name in wanted if stack or name != _STACK.name]
        names = _columns_of(format, wanted, columns)
    return _placed(
        [
            replace(column, blank=blanks.of(name) if name in BY_NAME else column.blank)
            for name, column in columns.items()
            if name in names
        ]
    )


def _default_names() -> set[str]:
    own = {member.name for member in MEMBERS if not member.on_request}
    return own | {column.name for column in _COMMON} | {_STACK.name}


def _columns_of(format: EventFormat, wanted: Collection[str], columns: Collection[str]) -> set[str]:
    names = set()
    for name in wanted:
        member = BY_NAME.get(name)
        column = name if member is None or member.column is None else member.column
        if column and column not in columns:
            known = [*BY_NAME, *columns]
            raise TraceError(
                f"error: {format.name} has no member '{printable(name)}'{nearest(name, known)}"
            )
        names.add(column)
    return names


def _placed(columns: list[Column]) -> RowLayout:
    placed = [_TIME]
    end = _TIME.size
    rest = [column for column in columns if column.name != _TIME.name]
    for column in sorted(rest, key=lambda column: -column.alignment):
        placed.append(replace(column, offset=end))
        end += column.size
    return RowLayout(tuple(placed), end, any(column.kind in DYNAMIC for column in placed))
