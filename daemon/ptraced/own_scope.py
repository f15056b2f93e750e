"""Where the kernel keeps what says whose a task is: what bpf/own.c reads, from BTF.

Without BTF there is no such scope: offsets are never guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from ptraced import btf
from ptraced.errors import Unavailable

# HARDIRQ_OFFSET, and what __nmi_enter() adds (include/linux/preempt.h, hardirq.h).
HARD_INTERRUPT = 0x10000
NMI = 0x110000
_UID_MAP = Path("/proc/self/uid_map")
_TASK_MEMBERS = ("cred", "real_cred", "mm", "flags")
_CRED_MEMBERS = ("uid", "euid", "suid", "fsuid", "cap_permitted", "user_ns")


def own_holes() -> dict[str, int]:
    """What the holes of bpf/own.c are filled with, but for LOOKED_THROUGH.

    Raises Unavailable where the kernel does not say, or the daemon's uids are not the kernel's.
    Takes about a second, once.
    """
    _check_user_namespace()
    return dict(_kernel_holes())


@cache
def _kernel_holes() -> dict[str, int]:
    holes = {f"TASK_{name.upper()}": _member("task_struct", name) for name in _TASK_MEMBERS}
    holes |= {f"CRED_{name.upper()}": _member("cred", name) for name in _CRED_MEMBERS}
    # Only kernels with PREEMPT_RT have it: softirqs are counted by task there.
    softirq = btf.member_offset("task_struct", "softirq_disable_cnt")
    return {
        **holes,
        **_preempt_count(),
        "NS_LEVEL": _member("user_namespace", "level"),
        "MM_FLAGS": _member("mm_struct", "flags"),
        "IS_RT": int(softirq is not None),
        "TASK_SOFTIRQ": softirq or 0,
    }


def _preempt_count() -> dict[str, int]:
    """Where this kernel counts the interrupts that a CPU is in.

    In x86's per-CPU variables, or in the task. A CPU's variables are found by the run queue of
    the task at work there, which is one of them: a program could name them itself only where the
    kernel keeps the names of variables (CONFIG_KALLSYMS_ALL).
    """
    in_thread = btf.member_offset("thread_info", "preempt_count")
    if in_thread is not None:
        start = _member("task_struct", "thread_info")
        return {"PER_CPU": 0, "COUNT": start + in_thread, "AT_WORK": 0, "CFS_RQ": 0, "RQ": 0}
    if (hot := btf.per_cpu_offset("pcpu_hot")) is not None:
        # From "x86/percpu: Move preempt_count next to current_task" (64701838bf05, 6.2) on.
        count = hot + _member("pcpu_hot", "preempt_count")
        at_work = hot + _member("pcpu_hot", "current_task")
    else:
        # And again from "x86/preempt: Move preempt count to percpu hot section" (6.15) on.
        count, at_work = _variable("__preempt_count"), _variable("current_task")
    run_queue = _variable("runqueues")
    return {
        "PER_CPU": 1,
        "COUNT": count - run_queue,
        "AT_WORK": at_work - run_queue,
        "CFS_RQ": _member("task_struct", "se") + _member("sched_entity", "cfs_rq"),
        "RQ": _member("cfs_rq", "rq"),
    }


def _member(structure: str, name: str) -> int:
    return _known(btf.member_offset, f"{name} in struct {structure}", structure, name)


def _variable(name: str) -> int:
    return _known(btf.per_cpu_offset, f"variable {name}", name)


def _known(ask: Callable[..., int | None], what: str, *names: str) -> int:
    found = ask(*names)
    if found is None:
        raise Unavailable(
            f"error: the kernel's BTF has no {what}, by which a user's own tasks are told; "
            "on this kernel a policy can only allow all tasks"
        )
    return found


def _check_user_namespace() -> None:
    """The kernel's uids are the initial namespace's; those of callers are the daemon's."""
    if _UID_MAP.read_text().split() != ["0", "0", "4294967295"]:
        raise Unavailable(
            "error: ptraced runs in a user namespace, where uids are not the kernel's: "
            "users' own tasks cannot be told there, so run it outside"
        )
