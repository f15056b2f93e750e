"""The C text of a source's module, from the files in bpf/ and the sources' plans.

What is filled into the files' holes is numbers, and C that filter_c.py made from
a checked tree: no text of a caller gets here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ptrace_formats.event_format import EventFormat, FormatField
from ptraced import filter_c
from ptraced.bpf_maps import Map
from ptraced.errors import Unavailable
from ptraced.filter import Filter
from ptraced.layout import TAG_BYTES, Blank, Column, RowLayout
from ptraced.origin import Origin, Probe, Site, Tracepoint
from ptraced.own_scope import own_holes
from ptraced.quotas.run_time import MEASURED_EVERY
from ptraced.scope import TASKS_MAX, Scope, possible_cpus
from ptraced.syscall_family import SYSCALLS_MAX, Dispatched, status_offset
from ptraced.tracefs import Tracefs

_BPF = Path(__file__).parent / "bpf"
# The verifier allows 512 bytes of stack; filters and records of probes want some of it.
_STACK_ROW_MAX = 256
_STACK_ROW_OF_PROBES_MAX = 128
# Dynamic data of one record: less than PERF_MAX_TRACE_SIZE, 8192 bytes.
_DYNAMIC_MAX = 8191
# Rows of different events are padded to one size in their shared ring up to this
# many bytes: splitting equal rows is a hundred times cheaper than walking.
_PADDED_MAX = 128
# MAX_ERRNO in include/linux/err.h.
_ERROR_MAX = 4095
# LLVM takes more time for a function the more there are in a text.
_EVENTS_PER_TEXT = 64
# Longer arrays are copied by one helper call instead of loads.
_LOADS_MAX = 8


# Frames of a stack's part: PERF_MAX_STACK_DEPTH in include/uapi/linux/perf_event.h.
STACK_DEPTH_MAX = 127
_STACK_MASK = 1023
_STACKS_BYTES = 8 + 2 * (_STACK_MASK + 1)


@dataclass(frozen=True, slots=True)
class StackDepth:
    """How many frames of each part of a stack are captured; 0 leaves the part out."""

    kernel: int
    user: int


@dataclass(frozen=True, slots=True)
class EventPlan:
    """One event of a module: where it comes from, what is matched and what is copied.

    `stack` counts where the layout has a column for it.
    """

    format: EventFormat
    filter: Filter | None
    layout: RowLayout
    origin: Origin = field(default_factory=Tracepoint)
    stack: StackDepth = StackDepth(0, 0)

    @property
    def sites(self) -> tuple[Site | None, ...]:
        """Where a program is attached; None stands for the tracepoint."""
        return self.origin.sites if isinstance(self.origin, Probe) else (None,)

    @property
    def records(self) -> tuple[str | None, ...]:
        """How records are made, which has a program each: for several places, or by the kernel."""
        return tuple(dict.fromkeys(site.record if site else None for site in self.sites))

    @property
    def of_file(self) -> bool:
        """Whether user programs hit it."""
        return isinstance(self.origin, Probe) and self.origin.file is not None


@dataclass(frozen=True, slots=True)
class ModulePlan:
    """What a module is generated from; equal plans can share one module."""

    events: tuple[EventPlan, ...]
    scope: Scope
    dispatched: dict[int, Dispatched] = field(default_factory=dict)
    # The uid whose rate it counts to; None where nobody's is limited.
    payer: int | None = None

    @property
    def tagged(self) -> bool:
        """Whether rows start with their event's number, as events share the rings."""
        return len(self.events) > 1

    @property
    def programs(self) -> int:
        """BPF programs that the kernel runs for it: of events, dispatchers, and those of scope.c.

        What dispatchers jump to does not count: all of syscalls: is two.
        """
        events = sum(
            len(event.records)
            for number, event in enumerate(self.events)
            if number not in self.dispatched
        )
        return events + 2 * bool(self.dispatched) + 2 * self.scope.has_tasks

    @property
    def probes(self) -> int:
        """Places of kprobes and user probes."""
        return sum(
            event.origin.breakpoints for event in self.events if isinstance(event.origin, Probe)
        )

    @property
    def padded_size(self) -> int:
        """The one size of all rows in the ring, tag included; 0 where sizes differ."""
        largest = max(event.layout.row_size for event in self.events) + TAG_BYTES
        if not self.tagged or largest > _PADDED_MAX:
            return 0
        return 0 if any(event.layout.walked for event in self.events) else largest

    @property
    def user_stacks(self) -> bool:
        """Whether any row has a user's stack: its process has to be known."""
        return any(event.layout.stack and event.stack.user for event in self.events)

    @property
    def key(self) -> Hashable:
        """Equal for plans that see the same hits and make the same rows."""
        events = tuple(
            (
                event.format.id,
                event.origin,
                event.filter.canonical if event.filter else "",
                tuple(
                    (
                        column.name,
                        column.kind,
                        column.field.pointed if column.field else 0,
                        column.blank,
                    )
                    for column in event.layout.columns
                ),
                event.stack,
            )
            for event in self.events
        )
        return events, self.scope, self.payer


def module_texts(plan: ModulePlan, tracefs: Tracefs) -> Iterator[str]:
    """C for BCC: one program `event_N` per event, and those that follow children.

    All texts have the maps; the compiler's objects of them are to be joined.
    """
    common = _common_text(plan, tracefs)
    for first in range(0, len(plan.events), _EVENTS_PER_TEXT):
        last = min(first + _EVENTS_PER_TEXT, len(plan.events))
        parts = [common, *(_event_text(number, plan) for number in range(first, last))]
        if plan.dispatched and not first:
            parts.append(_dispatch_text())
        yield "\n".join(parts)


def _common_text(plan: ModulePlan, tracefs: Tracefs) -> str:
    cpus = possible_cpus()
    scratch = max(event.layout.row_size for event in plan.events) + TAG_BYTES
    parts = [
        fill(
            "source.c",
            CPUS=cpus,
            LOST_SLOTS=cpus * len(plan.events),
            SCRATCH_BYTES=scratch + 2 * (_DYNAMIC_MAX + 1) + _STACKS_BYTES,
            DYNAMIC_MAX=_DYNAMIC_MAX,
            STACK_MASK=_STACK_MASK,
        ),
        cost_text(),
        scope_text(plan.scope, tracefs),
        template("filter.h"),
        rate_text(len(plan.events), plan.payer),
    ]
    if any(isinstance(event.origin, Probe) for event in plan.events):
        parts.append("#include <asm/ptrace.h>")
    return "\n".join(parts)


@cache
def template(file: str) -> str:
    """A file in bpf/, as it was when first asked for: it belongs to this program."""
    return (_BPF / file).read_text()


def fill(file: str, **values: object) -> str:
    """The text of a file in bpf/ with its holes filled."""
    text = template(file)
    return re.sub(r"@([A-Z_]+)@", lambda match: str(values[match[1]]), text)


def scope_text(scope: Scope, tracefs: Tracefs, looked_through: int = 0) -> str:
    """C of in_scope(), and of the programs that follow children.

    `looked_through` is what preempt_count has while an event's own interrupt is at work in a task.
    Raises Unavailable where the kernel does not tell whose a task is, and the scope has an owner.
    """
    own = ""
    if scope.owner is not None:
        own = fill("own.c", LOOKED_THROUGH=looked_through, **own_holes())
    offsets = {"NEWTASK_PID": 0, "NEWTASK_CLONE_FLAGS": 0, "FREE_PID": 0}
    if scope.has_tasks:
        newtask = tracefs.format("task", "task_newtask")
        free = tracefs.format("sched", "sched_process_free")
        offsets = {
            "NEWTASK_PID": _offset(newtask, "pid"),
            "NEWTASK_CLONE_FLAGS": _offset(newtask, "clone_flags"),
            "FREE_PID": _offset(free, "pid"),
        }
    return own + fill(
        "scope.c",
        SCOPE_OWNED=int(scope.owner is not None),
        SCOPE_TASKS=int(scope.has_tasks),
        SCOPE_CPUS=int(bool(scope.cpus)),
        SCOPE_CGROUPS=len(scope.cgroups),
        TASKS_MAX=TASKS_MAX,
        CPU_TEST=" || ".join(f"cpu == {cpu}" for cpu in scope.cpus),
        **offsets,
    )


def cost_text() -> str:
    """C of begin_run() and end_run()."""
    return fill("cost.c", CPUS=possible_cpus(), EVERY=MEASURED_EVERY)


def rate_text(events: int, payer: int | None) -> str:
    """C of may_submit(), where the rate of a module's user is limited."""
    if payer is None:
        return ""
    stride = throttle_stride(events)
    return fill("rate.c", STRIDE=stride, SLOTS=stride * possible_cpus())


def throttle_stride(events: int) -> int:
    """Counters that a CPU has in rate.c: whole cache lines of 64 bytes."""
    return events + 7 & ~7


def _dispatch_text() -> str:
    return fill("dispatch.c", SYSCALLS_MAX=SYSCALLS_MAX, STATUS=status_offset())


def _offset(format: EventFormat, name: str) -> int:
    field = format.field(name)
    if field is None:
        raise Unavailable(f"error: {format.system}:{format.name} has no '{name}' on this kernel")
    return field.offset


def _event_text(number: int, plan: ModulePlan) -> str:
    event = plan.events[number]
    name = f"filter_{number}"
    if event.filter is None:
        filter_text = f"static __always_inline bool {name}(void *ctx) {{ return true; }}"
    else:
        filter_text = filter_c.emit(event.filter, event.format, name)
    programs = [
        _program_text(number, plan, program_name(number, index), record, filter_text)
        for index, record in enumerate(event.records)
    ]
    return "\n".join([filter_text, *programs])


def program_name(event: int, record: int) -> str:
    """What the program of an event is called, and those of a probe's further records."""
    return f"event_{event}_{record}" if record else f"event_{event}"


def _program_text(
    number: int, plan: ModulePlan, name: str, record: str | None, filter_text: str
) -> str:
    event = plan.events[number]
    base = TAG_BYTES if plan.tagged else 0
    row_size = plan.padded_size or event.layout.row_size + base
    largest = _STACK_ROW_MAX if record is None else _STACK_ROW_OF_PROBES_MAX
    on_stack = not event.layout.walked and row_size <= largest
    filter_has_room = filter_c.ROOM in filter_text
    return fill(
        "event.c",
        EVENT=f"event {number} of the module",
        PROGRAM=name,
        HIT="void" if record is None else "struct pt_regs",
        IS_PROBE=int(record is not None),
        WORDS=max((field.offset // 8 + 1 for field in event.format.fields), default=1),
        RECORD=record or "",
        # What is taken before the filter counts hits as lost that it might have refused.
        FILTER_GUARDED=int(event.of_file and filter_has_room),
        GUARDED=int(event.of_file and (filter_has_room or not on_stack)),
        RESULT=int(not event.of_file),
        N=number,
        LIMITED=int(plan.payer is not None),
        ROW_SIZE=row_size,
        ON_STACK=int(on_stack),
        COPY="\n".join(f"\t{copy}" for copy in _copies(number, event, base, row_size)),
    )


def _copies(number: int, event: EventPlan, base: int, row_size: int) -> list[str]:
    """The C statements that fill a row."""
    copies = [f"*(u64 *)row = {number};"] if base else []
    copies += [
        _copy(column, base, row_size)
        for column in event.layout.columns
        if column != event.layout.stack
    ]
    used = base + event.layout.row_size
    if used < row_size:
        copies.append(f"__builtin_memset(row + {used}, 0, {row_size - used});")
    if event.layout.stack is not None:
        at = base + event.layout.stack.offset
        depth = event.stack
        copies.append(
            f"{_end_test(row_size)} "
            f"end = copy_stacks(hit, row, {base}, {at}, end, {8 * depth.kernel}, {8 * depth.user});"
        )
    return copies


_COMMON_COPIES = {
    "_time": "*(u64 *)(row + {at}) = bpf_ktime_get_ns();",
    "_pid": "*(u32 *)(row + {at}) = bpf_get_current_pid_tgid() >> 32;",
    "_tid": "*(u32 *)(row + {at}) = bpf_get_current_pid_tgid();",
    # Zeros first: before "bpf: ensure all memory is initialized in bpf_get_current_comm" what was
    # on the kernel's stack stays behind the name, for every client to read.
    "_comm": "__builtin_memset(row + {at}, 0, 16); bpf_get_current_comm(row + {at}, 16);",
    "common_flags": "*(u8 *)(row + {at}) = 0;",
    "common_preempt_count": "*(u8 *)(row + {at}) = 0;",
}


def _copy(column: Column, base: int, row_size: int) -> str:
    """The C statements that fill a column."""
    at = base + column.offset
    field = column.field
    if field is None:
        return _COMMON_COPIES[column.name].format(at=at)
    if column.blank is Blank.ALL:
        return _leave_out(column, base, at)
    if column.dynamic:
        return _copy_dynamic(field, base, at, row_size)
    copy = _copy_fixed(field, column.alignment, at)
    if column.blank is Blank.KERNEL_ADDRESSES:
        # Negative error numbers are none.
        copy += f" if (*(s64 *)(row + {at}) < {-_ERROR_MAX}) *(u64 *)(row + {at}) = 0;"
    return copy


def _leave_out(column: Column, base: int, at: int) -> str:
    """Zeros, or data of no length: the record is not read."""
    if column.dynamic:
        return f"*(u32 *)(row + {at}) = end - {base}; *(u32 *)(row + {at + 4}) = 0;"
    return f"__builtin_memset(row + {at}, 0, {column.size});"


def _copy_dynamic(field: FormatField, base: int, at: int, row_size: int) -> str:
    if field.pointed:
        return (
            f"{_end_test(row_size)} end = copy_user_text(*(u64 *)(ctx + {field.offset}), "
            f"row, {base}, {at}, end, {field.pointed});"
        )
    counted_from = field.offset + field.size if field.relative else 0
    return (
        f"{_end_test(row_size)} "
        f"end = copy_dynamic(ctx, *(u32 *)(ctx + {field.offset}), {counted_from}, "
        f"row, {base}, {at}, end);"
    )


def _end_test(row_size: int) -> str:
    # A record has no more dynamic data than this; the verifier has to be told.
    return f"if (end > {row_size + _DYNAMIC_MAX}) goto lost;"


def _copy_fixed(field: FormatField, word: int, at: int) -> str:
    if field.offset % word or field.size > _LOADS_MAX * word:
        source = f"(void *)((u64)ctx + {field.offset})"
        return f"bpf_probe_read_kernel(row + {at}, {field.size}, {source});"
    return " ".join(
        f"*(u{8 * word} *)(row + {at + i}) = *(u{8 * word} *)(ctx + {field.offset + i});"
        for i in range(0, field.size, word)
    )


def fill_scope(scope: Scope, maps: dict[str, Map]) -> None:
    """Put the tasks and control groups of a scope into a loaded module's maps.

    The programs that follow children run already: they take out what ends from now on.
    """
    for pid in scope.pids:
        maps["processes"].update(pid, b"\1")
    for tid in scope.tids:
        maps["threads"].update(tid, b"\1")
    for pin in scope.pins:
        # It ended before, and its number may be another's by now.
        if pin.gone:
            maps["threads" if pin.thread else "processes"].delete(pin.number)
    for index, directory in enumerate(scope.cgroups):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            maps["cgroups"].update(index, fd.to_bytes(4, "little"))
        finally:
            os.close(fd)
