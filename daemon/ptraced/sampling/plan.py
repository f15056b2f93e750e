"""What a source of samples is made from."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from ptrace_formats import members as m
from ptrace_formats.event_format import EventFormat
from ptrace_formats.registers import NO_REGISTERS, host_registers
from ptrace_proto import ptrace_pb2 as pb
from ptraced.filter import Filter
from ptraced.layout import Blank, Column, RowLayout
from ptraced.origin import Sampled
from ptraced.program import StackDepth
from ptraced.sampling import counters
from ptraced.sampling.attr import counts_lost
from ptraced.sampling.selector import SampledOptions
from ptraced.sampling.shape import (
    FORMAT_ID,
    FORMAT_LOST,
    GROUP,
    TOTAL_TIME_ENABLED,
    TOTAL_TIME_RUNNING,
    Shape,
)
from ptraced.scope import Scope, resolve_scope

_SECOND = 1_000_000_000
# Nothing has a timer run more often than every 10 us: perf_swevent_start_hrtimer() and
# perf_swevent_hrtimer() in kernel/events/core.c.
_TIMER_LEAST = 10_000


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """An event that samples, and the rows that are made of it; equal ones can share a source.

    `stack` counts where the layout has a column for it.
    """

    format: EventFormat
    origin: Sampled
    layout: RowLayout
    scope: Scope
    filter: Filter | None = None
    stack: StackDepth = field(default_factory=lambda: StackDepth(0, 0))
    # The uid whose rate it counts to; None where nobody's is limited.
    payer: int | None = None

    @property
    def columns(self) -> frozenset[str]:
        return frozenset(column.name for column in self.layout.columns)

    @property
    def programs(self) -> int:
        """BPF programs that are loaded for it at most."""
        return 1 + 2 * self.scope.has_tasks

    @property
    def probes(self) -> int:
        """Places of kprobes and user probes."""
        return 0

    @property
    def user_stacks(self) -> bool:
        return bool(self.layout.stack is not None and self.stack.user)

    @property
    def timer_rate(self) -> int:
        """How often a second a timer interrupts each CPU for it; 0 where none does."""
        if self.origin.type != counters.SOFTWARE or self.origin.counter not in counters.CLOCKS:
            return 0
        return self.origin.frequency or _SECOND // max(self.origin.period, _TIMER_LEAST)

    @property
    def names_tasks(self) -> bool:
        """Whether rows have names of tasks, which samples do not."""
        return "_comm" in self.columns

    @property
    def constants(self) -> dict[str, int | bytes]:
        """Columns that are the same in all rows.

        A software event that is asked for the period of each sample makes one of every
        occurrence, whatever its period (perf_swevent_event() in kernel/events/core.c). What is
        blank is not asked for either.
        """
        blank: dict[str, int | bytes] = {
            column.name: self._empty(column)
            for column in self.layout.columns
            if column.blank is Blank.ALL
        }
        return ({} if self.origin.frequency else {"period": self.origin.period}) | blank

    @property
    def _asked(self) -> frozenset[str]:
        """Columns that the kernel is asked for."""
        return self.columns - self.constants.keys()

    def _empty(self, column: Column) -> int | bytes:
        if column.kind == pb.FIELD_KIND_READ:
            # As clients take it apart: all of its numbers are 0.
            return bytes(Shape(m.READ, read_format()).read_bytes)
        if column.kind == pb.FIELD_KIND_REGS:
            return NO_REGISTERS
        return b"" if column.kind in m.DYNAMIC else 0

    @property
    def shape(self) -> Shape:
        """How the kernel is asked to lay out samples."""
        columns = self._asked
        sample_type = m.TIME
        for member in m.MEMBERS:
            if (member.column or member.name) in columns:
                sample_type |= member.bit
        if sample_type & m.WEIGHT_STRUCT:
            sample_type &= ~m.WEIGHT
        if self.layout.stack is not None:
            sample_type |= m.CALLCHAIN
        if self.names_tasks or self.user_stacks:
            sample_type |= m.TID
        registers = len(host_registers().names)
        format = read_format("read" in columns, bool(self.group))
        return Shape(sample_type, format, registers, registers)

    @property
    def group(self) -> tuple[Sampled, ...]:
        """What is counted along, where rows have it."""
        return self.origin.group if "read" in self._asked else ()

    @property
    def key(self) -> Hashable:
        """Equal for plans that see the same and make the same rows."""
        return (
            self.origin,
            self.filter.canonical if self.filter else "",
            tuple((column.name, column.kind, column.blank) for column in self.layout.columns),
            self.stack if self.layout.stack is not None else None,
            self.scope,
            self.payer,
        )


def event_scope(scope: Scope, options: SampledOptions) -> Scope:
    """The session's scope for an event: processes and threads of its own stand in their place.

    Raises NotFound for one that is not there.
    """
    if not options.pids and not options.tids:
        return scope
    own = resolve_scope(pb.Scope(pids=options.pids, tids=options.tids))
    identity = (*scope.identity, *own.identity)
    return replace(scope, pids=own.pids, tids=own.tids, identity=identity, pins=own.pins)


def read_format(whole: bool = True, group: bool = False) -> int:
    """What reading the counter gives: the specification's values, or only what we need."""
    times = TOTAL_TIME_ENABLED | TOTAL_TIME_RUNNING | FORMAT_ID
    lost = FORMAT_LOST if counts_lost() else 0
    return (times if whole else 0) | (GROUP if group else 0) | lost
