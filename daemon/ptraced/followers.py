"""What sources have in common: programs on tracepoints, and those that follow children."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from ptraced import perf_event
from ptraced.bpf_maps import Map
from ptraced.errors import LimitExceeded, Unavailable
from ptraced.scope import is_alive, online_cpus
from ptraced.tracefs import EventFormat, Tracefs

# BPF_TRACE_MAX_PROGS in kernel/trace/bpf_trace.c.
_PROGRAMS_MAX = 64


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
                f"error: the kernel runs at most {_PROGRAMS_MAX} programs on a tracepoint, "
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


def any_alive(maps: Mapping[str, Map]) -> bool:
    """Whether any process or thread in a scope's maps still runs."""
    return any(
        is_alive(task) for name in ("processes", "threads") for task in maps[name].present_keys()
    )
