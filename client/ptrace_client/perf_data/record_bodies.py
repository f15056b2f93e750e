"""What records other than samples say; record_parsers.py takes them apart.

Layouts: perf_event_open(2), include/uapi/linux/perf_event.h and, of perf's own kinds,
tools/lib/perf/include/perf/event.h. Addresses and sizes are in bytes.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

# misc: COMM is by exec, SWITCH is out, MMAP is of data; MMAP2 has a build id, SWITCH preempts.
MISC_13: Final = 1 << 13
MISC_14: Final = 1 << 14


class Mapping(NamedTuple):
    """MMAP and MMAP2; what only the latter has is 0 or empty in the former."""

    pid: int
    tid: int
    address: int
    size: int
    pgoff: int
    filename: str
    major: int = 0
    minor: int = 0
    inode: int = 0
    generation: int = 0
    # PROT_* and MAP_* of mmap(2).
    prot: int = 0
    flags: int = 0
    build_id: bytes = b""


class Comm(NamedTuple):
    """COMM: a thread's new name."""

    pid: int
    tid: int
    comm: str
    exec: bool


class Task(NamedTuple):
    """FORK and EXIT; `time` is in ns."""

    pid: int
    ppid: int
    tid: int
    ptid: int
    time: int


class Lost(NamedTuple):
    """LOST and LOST_SAMPLES, which has no id."""

    id: int
    lost: int


class Throttle(NamedTuple):
    """THROTTLE and UNTHROTTLE."""

    time: int
    id: int
    stream_id: int


class Switch(NamedTuple):
    """SWITCH and SWITCH_CPU_WIDE, which alone tells of the other thread; else -1."""

    out: bool
    preempt: bool
    other_pid: int
    other_tid: int


class Namespaces(NamedTuple):
    """NAMESPACES: (device, inode) of each, in the kernel's order."""

    pid: int
    tid: int
    links: tuple[tuple[int, int], ...]


class KernelSymbol(NamedTuple):
    """KSYMBOL: code that was loaded, or unloaded (flags & 1)."""

    address: int
    size: int
    type: int
    flags: int
    name: str


class BpfEvent(NamedTuple):
    """BPF_EVENT: a program was loaded (type 1) or unloaded (2)."""

    type: int
    flags: int
    id: int
    tag: bytes


class Cgroup(NamedTuple):
    """CGROUP: the path of a cgroup's id."""

    id: int
    path: str


class TextPoke(NamedTuple):
    """TEXT_POKE: the kernel changed its code."""

    address: int
    old: bytes
    new: bytes


class Aux(NamedTuple):
    """AUX: hardware trace was written."""

    offset: int
    size: int
    flags: int


class TraceStart(NamedTuple):
    """ITRACE_START."""

    pid: int
    tid: int


class HardwareId(NamedTuple):
    """AUX_OUTPUT_HW_ID."""

    id: int


class IdIndex(NamedTuple):
    """ID_INDEX: (id, index of the buffer, cpu, tid) of each id of events."""

    entries: tuple[tuple[int, int, int, int], ...]


class TraceInfo(NamedTuple):
    """AUXTRACE_INFO: which hardware's trace there is."""

    type: int


class Trace(NamedTuple):
    """AUXTRACE: `size` bytes of trace follow the record in the file."""

    size: int
    offset: int
    reference: int
    buffer: int
    tid: int
    cpu: int


class TraceError(NamedTuple):
    """AUXTRACE_ERROR."""

    type: int
    code: int
    cpu: int
    pid: int
    tid: int
    format: int
    ip: int
    time: int
    message: str
    machine_pid: int
    vcpu: int


class ThreadMap(NamedTuple):
    """THREAD_MAP: (tid, name) of the threads that were watched; -1 for all."""

    threads: tuple[tuple[int, str], ...]


class CpuMap(NamedTuple):
    """CPU_MAP; -1 is any of them."""

    cpus: tuple[int, ...]


class StatConfig(NamedTuple):
    """STAT_CONFIG: (tag, value)."""

    terms: tuple[tuple[int, int], ...]


class Stat(NamedTuple):
    """STAT: a count; `cpu` and `thread` are indices into the maps, enabled and running ns."""

    id: int
    cpu: int
    thread: int
    value: int
    enabled: int
    running: int


class StatRound(NamedTuple):
    """STAT_ROUND: an interval (type 0) or all (1) ended; time in ns."""

    type: int
    time: int


class TimeConversion(NamedTuple):
    """TIME_CONV: from the processor's counter to ns."""

    shift: int
    multiplier: int
    zero: int


class EventUpdate(NamedTuple):
    """EVENT_UPDATE: `content` is behind type and id."""

    type: int
    id: int
    content: bytes


Body: TypeAlias = (
    Mapping
    | Comm
    | Task
    | Lost
    | Throttle
    | Switch
    | Namespaces
    | KernelSymbol
    | BpfEvent
    | Cgroup
    | TextPoke
    | Aux
    | TraceStart
    | HardwareId
    | IdIndex
    | TraceInfo
    | Trace
    | TraceError
    | ThreadMap
    | CpuMap
    | StatConfig
    | Stat
    | StatRound
    | TimeConversion
    | EventUpdate
)
