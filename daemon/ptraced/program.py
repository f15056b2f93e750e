"""The C text of a source's module, from the files in bpf/ and the sources' plans.

What is filled into the files' holes is numbers, and C that filter_c.py made from
a checked tree: no text of a caller gets here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path

from ptraced import filter_c
from ptraced.bpf_maps import Map
from ptraced.errors import Unavailable
from ptraced.filter import Filter
from ptraced.layout import TAG_BYTES, Column, RowLayout
from ptraced.scope import TASKS_MAX, Scope, possible_cpus
from ptraced.syscall_family import SYSCALLS_MAX, Dispatched, status_offset
from ptraced.tracefs import EventFormat, FormatField, Tracefs

_BPF = Path(__file__).parent / "bpf"
# The verifier allows 512 bytes of stack; filters want some of it.
_STACK_ROW_MAX = 256
# Dynamic data of one record: less than PERF_MAX_TRACE_SIZE, 8192 bytes.
_DYNAMIC_MAX = 8191
# Rows of different events are padded to one size in their shared ring up to this
# many bytes: splitting equal rows is a hundred times cheaper than walking.
_PADDED_MAX = 128
# Longer arrays are copied by one helper call instead of loads.
_LOADS_MAX = 8


@dataclass(frozen=True, slots=True)
class EventPlan:
    """One event of a module: what is matched and what is copied."""

    format: EventFormat
    filter: Filter | None
    layout: RowLayout


@dataclass(frozen=True, slots=True)
class ModulePlan:
    """What a module is generated from; equal plans can share one module."""

    events: tuple[EventPlan, ...]
    scope: Scope
    dispatched: dict[int, Dispatched] = field(default_factory=dict)

    @property
    def tagged(self) -> bool:
        """Whether rows start with their event's number, as events share the rings."""
        return len(self.events) > 1

    @property
    def padded_size(self) -> int:
        """The one size of all rows in the ring, tag included; 0 where sizes differ."""
        largest = max(event.layout.row_size for event in self.events) + TAG_BYTES
        if not self.tagged or largest > _PADDED_MAX:
            return 0
        return 0 if any(event.layout.has_dynamic for event in self.events) else largest

    @property
    def key(self) -> Hashable:
        """Equal for plans that see the same hits and make the same rows."""
        events = tuple(
            (
                event.format.id,
                event.filter.canonical if event.filter else "",
                tuple(column.name for column in event.layout.columns),
            )
            for event in self.events
        )
        return events, self.scope


def module_text(plan: ModulePlan, tracefs: Tracefs) -> str:
    """C for BCC: one program `event_N` per event, and those that follow children."""
    cpus = possible_cpus()
    scratch = max(event.layout.row_size for event in plan.events) + TAG_BYTES
    parts = [
        _fill(
            "source.c",
            CPUS=cpus,
            LOST_SLOTS=cpus * len(plan.events),
            SCRATCH_BYTES=scratch + 2 * (_DYNAMIC_MAX + 1),
            DYNAMIC_MAX=_DYNAMIC_MAX,
        ),
        _scope_text(plan.scope, tracefs),
        (_BPF / "filter.h").read_text(),
    ]
    parts += [_event_text(number, plan) for number in range(len(plan.events))]
    if plan.dispatched:
        parts.append(_dispatch_text())
    return "\n".join(parts)


def _fill(file: str, **values: object) -> str:
    """The text of a file in bpf/ with its holes filled."""
    text = (_BPF / file).read_text()
    return re.sub(r"@([A-Z_]+)@", lambda match: str(values[match[1]]), text)


def _scope_text(scope: Scope, tracefs: Tracefs) -> str:
    offsets = {"NEWTASK_PID": 0, "NEWTASK_CLONE_FLAGS": 0, "FREE_PID": 0}
    if scope.has_tasks:
        newtask = tracefs.format("task", "task_newtask")
        free = tracefs.format("sched", "sched_process_free")
        offsets = {
            "NEWTASK_PID": _offset(newtask, "pid"),
            "NEWTASK_CLONE_FLAGS": _offset(newtask, "clone_flags"),
            "FREE_PID": _offset(free, "pid"),
        }
    return _fill(
        "scope.c",
        SCOPE_TASKS=int(scope.has_tasks),
        SCOPE_CPUS=int(bool(scope.cpus)),
        SCOPE_CGROUPS=len(scope.cgroups),
        TASKS_MAX=TASKS_MAX,
        CPU_TEST=" || ".join(f"cpu == {cpu}" for cpu in scope.cpus),
        **offsets,
    )


def _dispatch_text() -> str:
    return _fill("dispatch.c", SYSCALLS_MAX=SYSCALLS_MAX, STATUS=status_offset())


def _offset(format: EventFormat, name: str) -> int:
    field = format.field(name)
    if field is None:
        raise Unavailable(f"error: {format.system}:{format.name} has no '{name}' on this kernel")
    return field.offset


def _event_text(number: int, plan: ModulePlan) -> str:
    event = plan.events[number]
    base = TAG_BYTES if plan.tagged else 0
    name = f"filter_{number}"
    if event.filter is None:
        filter_text = f"static __always_inline bool {name}(void *ctx) {{ return true; }}"
    else:
        filter_text = filter_c.emit(event.filter, event.format, name)
    row_size = plan.padded_size or event.layout.row_size + base
    copies = [f"*(u64 *)row = {number};"] if base else []
    copies += [_copy(column, base, row_size) for column in event.layout.columns]
    used = base + event.layout.row_size
    if used < row_size:
        copies.append(f"__builtin_memset(row + {used}, 0, {row_size - used});")
    return _fill(
        "event.c",
        EVENT=f"{event.format.system}:{event.format.name}",
        N=number,
        FILTER=filter_text,
        ROW_SIZE=row_size,
        ON_STACK=int(not event.layout.has_dynamic and row_size <= _STACK_ROW_MAX),
        COPY="\n".join(f"\t{copy}" for copy in copies),
    )


_COMMON_COPIES = {
    "_time": "*(u64 *)(row + {at}) = bpf_ktime_get_ns();",
    "_pid": "*(u32 *)(row + {at}) = bpf_get_current_pid_tgid() >> 32;",
    "_tid": "*(u32 *)(row + {at}) = bpf_get_current_pid_tgid();",
    "_comm": "bpf_get_current_comm(row + {at}, 16);",
    "common_flags": "*(u8 *)(row + {at}) = 0;",
    "common_preempt_count": "*(u8 *)(row + {at}) = 0;",
}


def _copy(column: Column, base: int, row_size: int) -> str:
    """The C statements that fill a column."""
    at = base + column.offset
    field = column.field
    if field is None:
        return _COMMON_COPIES[column.name].format(at=at)
    if column.dynamic:
        return _copy_dynamic(field, base, at, row_size)
    return _copy_fixed(field, column.alignment, at)


def _copy_dynamic(field: FormatField, base: int, at: int, row_size: int) -> str:
    counted_from = field.offset + field.size if field.relative else 0
    # A record has no more dynamic data than this; the verifier has to be told.
    return (
        f"if (end > {row_size + _DYNAMIC_MAX}) goto lost; "
        f"end = copy_dynamic(ctx, *(u32 *)(ctx + {field.offset}), {counted_from}, "
        f"row, {base}, {at}, end);"
    )


def _copy_fixed(field: FormatField, word: int, at: int) -> str:
    if field.offset % word or field.size > _LOADS_MAX * word:
        source = f"(void *)((u64)ctx + {field.offset})"
        return f"bpf_probe_read_kernel(row + {at}, {field.size}, {source});"
    return " ".join(
        f"*(u{8 * word} *)(row + {at + i}) = *(u{8 * word} *)(ctx + {field.offset + i});"
        for i in range(0, field.size, word)
    )


def fill_scope(scope: Scope, maps: dict[str, Map]) -> None:
    """Put the tasks and control groups of a scope into a loaded module's maps."""
    for pid in scope.pids:
        maps["processes"].update(pid, b"\1")
    for tid in scope.tids:
        maps["threads"].update(tid, b"\1")
    for index, directory in enumerate(scope.cgroups):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            maps["cgroups"].update(index, fd.to_bytes(4, "little"))
        finally:
            os.close(fd)
