"""The perf events that have names of their own, as in `perf list`.

Numbers are of enum perf_type_id, perf_hw_id, perf_hw_cache_id and perf_sw_ids in
include/uapi/linux/perf_event.h; which caches count what is evsel__hw_cache_stat in
tools/perf/util/evsel.c.
"""

from __future__ import annotations

HARDWARE, SOFTWARE, TRACEPOINT, HW_CACHE, RAW, BREAKPOINT = range(6)

SW_CPU_CLOCK, SW_TASK_CLOCK, SW_DUMMY = 0, 1, 9
HW_CPU_CYCLES = 0

SOFTWARE_EVENTS = {
    "cpu-clock": SW_CPU_CLOCK,
    "task-clock": SW_TASK_CLOCK,
    "page-faults": 2,
    "context-switches": 3,
    "cpu-migrations": 4,
    "minor-faults": 5,
    "major-faults": 6,
    "alignment-faults": 7,
    "emulation-faults": 8,
    "dummy": SW_DUMMY,
    "bpf-output": 10,
    "cgroup-switches": 11,
}
HARDWARE_EVENTS = {
    "cpu-cycles": HW_CPU_CYCLES,
    "instructions": 1,
    "cache-references": 2,
    "cache-misses": 3,
    "branch-instructions": 4,
    "branch-misses": 5,
    "bus-cycles": 6,
    "stalled-cycles-frontend": 7,
    "stalled-cycles-backend": 8,
    "ref-cycles": 9,
}
ALIASES = {
    "faults": "page-faults",
    "cs": "context-switches",
    "migrations": "cpu-migrations",
    "cycles": "cpu-cycles",
    "branches": "branch-instructions",
    "idle-cycles-frontend": "stalled-cycles-frontend",
    "idle-cycles-backend": "stalled-cycles-backend",
}
# Counted by time, in ns: a period of 1 would be no period.
CLOCKS = frozenset(("cpu-clock", "task-clock"))

_READ, _WRITE, _PREFETCH = range(3)
_CACHES = {
    "L1-dcache": (0, (_READ, _WRITE, _PREFETCH)),
    "L1-icache": (1, (_READ, _PREFETCH)),
    "LLC": (2, (_READ, _WRITE, _PREFETCH)),
    "dTLB": (3, (_READ, _WRITE, _PREFETCH)),
    "iTLB": (4, (_READ,)),
    "branch": (5, (_READ,)),
    "node": (6, (_READ, _WRITE, _PREFETCH)),
}
_OPERATIONS = {
    _READ: ("loads", "load-misses"),
    _WRITE: ("stores", "store-misses"),
    _PREFETCH: ("prefetches", "prefetch-misses"),
}
CACHE_EVENTS = {
    f"{cache}-{name}": number | operation << 8 | result << 16
    for cache, (number, operations) in _CACHES.items()
    for operation in operations
    for result, name in enumerate(_OPERATIONS[operation])
}

# Events of perf itself, and what stands in for them.
TOOL_EVENTS = ("duration_time", "user_time", "system_time")

# perf-prof's profilers that analyse instead of handing out samples, and what there is instead.
_SWITCHES = "sched:sched_switch and sched:sched_wakeup"
PROFILERS = {
    "task-state": f"adds up times per state; a script does that with {_SWITCHES}",
    "oncpu": "follows who runs where; a script does that with sched:sched_switch",
    "watchdog": "looks for lockups by its own kernel timers; "
    "profile/--exclude-user/ samples what CPUs are busy with in the kernel",
    "sched-migrate": "is the tracepoint sched:sched_migrate_task, or the event cpu-migrations",
    "kvm-exit": "is the tracepoints kvm:kvm_exit and kvm:kvm_entry, on hosts with the module kvm",
    "rundelay": f"adds up delays; a script does that with {_SWITCHES}",
    "syscalls": "pairs raw_syscalls:sys_enter with raw_syscalls:sys_exit; a script does that",
    "irq-off": "times interrupts that are off by timers of its own; no event tells of them",
    "signal": "is the tracepoints signal:signal_generate and signal:signal_deliver",
    "hrtimer": "samples by a timer; profile/-F HZ/ does",
    "percpu-stat": "adds up counters; a script does that with the tracepoints it wants",
    "cpu-util": "counts cycles; profile/-F HZ/ samples them",
    "kmemleak": "pairs allocations with frees; a script does that with kmem:kmalloc and kmem:kfree",
    "kmemprof": "adds up allocations; a script does that with kmem:kmalloc",
    "mpdelay": "pairs events; a script does that",
    "multi-trace": "pairs events; a script does that",
    "nested-trace": "pairs events; a script does that",
    "blktrace": "pairs block:block_rq_issue with block:block_rq_complete; a script does that",
    "trace": "is what scripts do; name the event itself",
    "top": "adds up events; a script does that",
    "stat": "counts events; a script does that",
    "split-lock": "needs the PMU event sq_misc.split_lock of Intel's processors: "
    "cpu/event=0xf4,umask=0x10/ where it is",
    "llcstat": "is the events LLC-loads and LLC-load-misses, which need a PMU",
    "ldlat-loads": "needs the PMU event mem-loads with PEBS of Intel's processors: "
    "cpu/mem-loads,ldlat=30/ where it is",
    "ldlat-stores": "needs the PMU event mem-stores with PEBS of Intel's processors: "
    "cpu/mem-stores/ where it is",
}
