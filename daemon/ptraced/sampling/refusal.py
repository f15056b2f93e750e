"""Why the kernel does not open a sampling event, in words."""

from __future__ import annotations

import errno

from ptrace_formats import members as m
from ptraced.errors import LimitExceeded, TraceError, Unavailable
from ptraced.origin import Sampled
from ptraced.sampling import counters
from ptraced.sampling.attr import can_open, try_open

_PMU = (counters.HARDWARE, counters.HW_CACHE, counters.RAW)
# Members that not every event has, and what has them.
_RARE = {
    m.BRANCH_STACK: "a PMU that records branches",
    m.AUX: "a PMU that traces, such as intel_pt",
    m.CGROUP: "a kernel with CONFIG_CGROUP_PERF of version 5.7 or later",
    m.WEIGHT_STRUCT: "kernel 5.12 or later",
    m.DATA_PAGE_SIZE: "kernel 5.11 or later",
    m.CODE_PAGE_SIZE: "kernel 5.11 or later",
    m.REGS_USER: "a kernel that samples registers",
    m.REGS_INTR: "a kernel that samples registers",
    m.STACK_USER: "a kernel that samples the user's stack",
    m.PHYS_ADDR: "kernel 4.14 or later",
    m.TRANSACTION: "kernel 3.12 or later",
}


def explain_refusal(name: str, origin: Sampled, error: OSError, sample_type: int = 0) -> TraceError:
    """The error for a user whose event `name` the kernel has refused.

    `sample_type` is what was asked for of each sample.
    """
    reason = why_refused(name, origin, error)
    asked = [bit for bit in _RARE if sample_type & bit] if can_open(origin) else []
    for bit in asked:
        if _is_refused(origin, bit):
            member = next(member.name for member in m.MEMBERS if member.bit == bit)
            reason = f"samples of {name} have no '{member}' here: it takes {_RARE[bit]}"
            break
    return refusal(error, f"error: {reason}")


def refusal(error: OSError, text: str) -> TraceError:
    """An error with this text, of the type that the kernel's answer calls for."""
    return (LimitExceeded if error.errno == errno.ENOSPC else Unavailable)(text)


def why_refused(name: str, origin: Sampled, error: OSError) -> str:
    """The reason, for an error that points at the event."""
    if error.errno == errno.ENOSPC and origin.type == counters.BREAKPOINT:
        return "all hardware breakpoints of this machine are in use; it has few, usually 4"
    if error.errno in (errno.EPERM, errno.EACCES):
        if origin.type == counters.BREAKPOINT:
            return "breakpoints on kernel addresses need the daemon to have CAP_SYS_ADMIN"
        return (
            f"the kernel does not permit {name}: ptraced needs CAP_PERFMON, to lock memory for "
            "its buffers (ulimit -l), and kernel.perf_event_paranoid at most 2"
        )
    if origin.type in _PMU and error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
        return (
            f"{name} needs a PMU (hardware counters) that has it, and this host has none; "
            "cpu-clock samples by a timer instead"
        )
    if origin.type == counters.BREAKPOINT:
        return f"this machine has no such breakpoint: {error.strerror}"
    if origin.type > counters.BREAKPOINT and error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
        return (
            f"{name} counts but cannot sample: its PMU has no interrupt, or not this event; "
            f"profile/--group ({name})/ reads it with each sample"
        )
    return f"the kernel refuses {name}: {error.strerror}"


def _is_refused(origin: Sampled, bit: int) -> bool:
    try:
        try_open(origin, m.TIME | bit)
    except OSError:
        return True
    return False
