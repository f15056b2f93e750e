"""What sources have in common: programs on tracepoints, and those that follow children."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Mapping

from ptrace_formats.event_format import EventFormat
from ptraced import perf_event
from ptraced.bpf_maps import Map
from ptraced.errors import LimitExceeded, Unavailable
from ptraced.origin import Tracepoint
from ptraced.program import ModulePlan
from ptraced.quotas.tracepoint_places import PLACES
from ptraced.sampling.plan import SamplingPlan
from ptraced.scope import is_alive, online_cpus
from ptraced.tracefs import Tracefs


def hang(program: int, format: EventFormat) -> int:
    """Run a program at every hit of a tracepoint until the descriptor is closed.

    Raises LimitExceeded or Unavailable where the kernel refuses.
    """
    try:
        return perf_event.attach_tracepoint(format.id, program, online_cpus()[0])
    except OSError as error:
        name = f"{format.system}:{format.name}"
        if error.errno == errno.E2BIG:
            raise LimitExceeded(
                f"error: the kernel runs at most {PLACES} programs on a tracepoint, "
                f"and {name} has them; sessions that ask for the same share one"
            ) from None
        raise Unavailable(
            f"error: the kernel does not let {name} be traced: {error.strerror}"
        ) from None


def followers(tracefs: Tracefs) -> tuple[tuple[str, EventFormat], ...]:
    """The programs of bpf/scope.c that keep a scope's tasks up to date, and their tracepoints."""
    return (
        ("follow_newtask", tracefs.format("task", "task_newtask")),
        ("follow_free", tracefs.format("sched", "sched_process_free")),
    )


def tracepoints(plan: ModulePlan | SamplingPlan) -> Counter[str]:
    """How many programs a source hangs on each tracepoint, by "system:name"."""
    found: Counter[str] = Counter()
    if isinstance(plan, ModulePlan):
        for number, event in enumerate(plan.events):
            if isinstance(event.origin, Tracepoint) and number not in plan.dispatched:
                found[f"{event.format.system}:{event.format.name}"] += 1
        if plan.dispatched:
            found.update(["raw_syscalls:sys_enter", "raw_syscalls:sys_exit"])
    if plan.scope.has_tasks:
        found.update(["task:task_newtask", "sched:sched_process_free"])
    return found


def any_alive(maps: Mapping[str, Map]) -> bool:
    """Whether any process or thread in a scope's maps still runs."""
    return any(
        is_alive(task) for name in ("processes", "threads") for task in maps[name].present_keys()
    )
