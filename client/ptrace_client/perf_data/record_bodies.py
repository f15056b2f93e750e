"""What records other than samples say, taken apart.

Layouts: perf_event_open(2), include/uapi/linux/perf_event.h and, of perf's own kinds,
tools/lib/perf/include/perf/event.h. Addresses and sizes are in bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from ptrace_client.perf_data.cursor import Cursor
from ptrace_client.perf_data.model import Record, RecordKind

_HEADER: Final = 8
# misc: COMM is by exec, SWITCH is out, MMAP is of data; MMAP2 has a build id, SWITCH preempts.
MISC_13: Final = 1 << 13
MISC_14: Final = 1 << 14
_BUILD_ID_SIZE: Final = 20
_COMM_SIZE: Final = 16
# In a CPU_MAP: -1 in 16 bits.
_ANY_CPU: Final = 0xFFFF


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


def record_body(record: Record, big_endian: bool, where: str = "record") -> Body | None:
    """Take a record apart; None for kinds that have no class here.

    Raise ClientError where it is damaged; `where` names the recording in its text.
    """
    parse = _PARSERS.get(record.kind)
    if parse is None:
        return None
    order = ">" if big_endian else "<"
    return parse(_Fields(record, order, where), record)


class _Fields(Cursor):
    def __init__(self, record: Record, order: str, where: str) -> None:
        super().__init__(record.data, record.start + _HEADER, record.end, order, where)
        self._prefix = order

    def numbers(self, codes: str) -> tuple[int, ...]:
        """Return what is laid out by struct's `codes`."""
        layout = self._prefix + codes
        return struct.unpack_from(layout, self.data, self.skip(struct.calcsize(layout)))

    def entries(self, codes: str) -> tuple[tuple[int, ...], ...]:
        """Return a counted list of entries laid out by `codes`."""
        count, each = self.u64(), struct.calcsize("=" + codes)
        if count * each > self.left:
            raise self.fail(f"{count} entries of {each} bytes, {self.left} bytes are left")
        return tuple(struct.iter_unpack(self._prefix + codes, self.take(count * each)))


def _mmap(fields: _Fields, record: Record) -> Body:
    pid, tid, address, size, pgoff = fields.numbers("2I3Q")
    return Mapping(pid, tid, address, size, pgoff, fields.line())


def _mmap2(fields: _Fields, record: Record) -> Body:
    pid, tid, address, size, pgoff = fields.numbers("2I3Q")
    if record.misc & MISC_14:
        length = min(fields.numbers("B3x")[0], _BUILD_ID_SIZE)
        build_id = fields.take(_BUILD_ID_SIZE)[:length]
        file = (0, 0, 0, 0)
    else:
        build_id = b""
        major, minor, inode, generation = fields.numbers("2I2Q")
        file = (major, minor, inode, generation)
    prot, flags = fields.numbers("2I")
    name = fields.line()
    return Mapping(pid, tid, address, size, pgoff, name, *file, prot, flags, build_id)


def _comm(fields: _Fields, record: Record) -> Body:
    pid, tid = fields.numbers("2I")
    return Comm(pid, tid, fields.line(), bool(record.misc & MISC_13))


def _task(fields: _Fields, record: Record) -> Body:
    return Task(*fields.numbers("4IQ"))


def _lost(fields: _Fields, record: Record) -> Body:
    return Lost(*fields.numbers("2Q"))


def _lost_samples(fields: _Fields, record: Record) -> Body:
    return Lost(0, fields.u64())


def _throttle(fields: _Fields, record: Record) -> Body:
    return Throttle(*fields.numbers("3Q"))


def _switch(fields: _Fields, record: Record) -> Body:
    wide = record.kind == RecordKind.SWITCH_CPU_WIDE
    other_pid, other_tid = fields.numbers("2i") if wide else (-1, -1)
    out, preempt = bool(record.misc & MISC_13), bool(record.misc & MISC_14)
    return Switch(out, preempt, other_pid, other_tid)


def _namespaces(fields: _Fields, record: Record) -> Body:
    pid, tid = fields.numbers("2I")
    return Namespaces(pid, tid, tuple((device, inode) for device, inode in fields.entries("2Q")))


def _ksymbol(fields: _Fields, record: Record) -> Body:
    address, size, type, flags = fields.numbers("QI2H")
    return KernelSymbol(address, size, type, flags, fields.line())


def _bpf_event(fields: _Fields, record: Record) -> Body:
    type, flags, id = fields.numbers("2HI")
    return BpfEvent(type, flags, id, fields.take(8))


def _cgroup(fields: _Fields, record: Record) -> Body:
    return Cgroup(fields.u64(), fields.line())


def _text_poke(fields: _Fields, record: Record) -> Body:
    address, old, new = fields.numbers("Q2H")
    return TextPoke(address, fields.take(old), fields.take(new))


def _aux(fields: _Fields, record: Record) -> Body:
    return Aux(*fields.numbers("3Q"))


def _itrace_start(fields: _Fields, record: Record) -> Body:
    return TraceStart(*fields.numbers("2I"))


def _hardware_id(fields: _Fields, record: Record) -> Body:
    return HardwareId(fields.u64())


def _id_index(fields: _Fields, record: Record) -> Body:
    entries = fields.entries("4Q")
    return IdIndex(tuple((id, index, cpu, tid) for id, index, cpu, tid in entries))


def _auxtrace_info(fields: _Fields, record: Record) -> Body:
    return TraceInfo(fields.u32())


def _auxtrace(fields: _Fields, record: Record) -> Body:
    return Trace(*fields.numbers("3Q3I"))


def _auxtrace_error(fields: _Fields, record: Record) -> Body:
    """Read what its perf wrote: the time, and the guest, came later than the rest."""
    type, code, cpu, pid, tid, format, ip = fields.numbers("2I3iIQ")
    time = fields.u64() if format else 0
    message = fields.take(min(64, fields.left)).partition(b"\0")[0].decode(errors="replace")
    machine_pid, vcpu = fields.numbers("2i") if format > 1 else (0, -1)
    return TraceError(type, code, cpu, pid, tid, format, ip, time, message, machine_pid, vcpu)


def _thread_map(fields: _Fields, record: Record) -> Body:
    count = fields.u64()
    if count * (8 + _COMM_SIZE) > fields.left:
        raise fields.fail(f"{count} threads in {fields.left} bytes")
    return ThreadMap(tuple(_mapped_thread(fields) for _ in range(count)))


def _mapped_thread(fields: _Fields) -> tuple[int, str]:
    tid: int = fields.numbers("q")[0]
    name = fields.take(_COMM_SIZE).partition(b"\0")[0]
    return tid, name.decode(errors="surrogateescape")


def _cpu_map(fields: _Fields, record: Record) -> Body:
    """Read a list (type 0), a bit mask (1) of words of 4 or 8 bytes, or a range (2)."""
    kind, count = fields.numbers("2H")
    if kind == 0:
        return CpuMap(tuple(-1 if cpu == _ANY_CPU else cpu for cpu in fields.numbers(f"{count}H")))
    if kind == 1:
        size = fields.numbers("H")[0]
        if size == 8:
            fields.skip(2)
        words = fields.numbers(f"{count}{'Q' if size == 8 else 'I'}")
        bits = sum(word << place * size * 8 for place, word in enumerate(words))
        return CpuMap(tuple(bit for bit in range(bits.bit_length()) if bits >> bit & 1))
    # any_cpu is the low byte of what stands at the count's place.
    first, last = fields.numbers("2H")
    return CpuMap(tuple(range(first, last + 1)))


def _stat_config(fields: _Fields, record: Record) -> Body:
    return StatConfig(tuple((tag, value) for tag, value in fields.entries("2Q")))


def _stat(fields: _Fields, record: Record) -> Body:
    return Stat(*fields.numbers("Q2i3Q"))


def _stat_round(fields: _Fields, record: Record) -> Body:
    return StatRound(*fields.numbers("2Q"))


def _time_conv(fields: _Fields, record: Record) -> Body:
    return TimeConversion(*fields.numbers("3Q"))


def _event_update(fields: _Fields, record: Record) -> Body:
    type, id = fields.numbers("2Q")
    return EventUpdate(type, id, fields.take(fields.left))


_PARSERS: dict[int, Callable[[_Fields, Record], Body]] = {
    RecordKind.MMAP: _mmap,
    RecordKind.MMAP2: _mmap2,
    RecordKind.COMM: _comm,
    RecordKind.FORK: _task,
    RecordKind.EXIT: _task,
    RecordKind.LOST: _lost,
    RecordKind.LOST_SAMPLES: _lost_samples,
    RecordKind.THROTTLE: _throttle,
    RecordKind.UNTHROTTLE: _throttle,
    RecordKind.SWITCH: _switch,
    RecordKind.SWITCH_CPU_WIDE: _switch,
    RecordKind.NAMESPACES: _namespaces,
    RecordKind.KSYMBOL: _ksymbol,
    RecordKind.BPF_EVENT: _bpf_event,
    RecordKind.CGROUP: _cgroup,
    RecordKind.TEXT_POKE: _text_poke,
    RecordKind.AUX: _aux,
    RecordKind.ITRACE_START: _itrace_start,
    RecordKind.AUX_OUTPUT_HW_ID: _hardware_id,
    RecordKind.ID_INDEX: _id_index,
    RecordKind.AUXTRACE_INFO: _auxtrace_info,
    RecordKind.AUXTRACE: _auxtrace,
    RecordKind.AUXTRACE_ERROR: _auxtrace_error,
    RecordKind.THREAD_MAP: _thread_map,
    RecordKind.CPU_MAP: _cpu_map,
    RecordKind.STAT_CONFIG: _stat_config,
    RecordKind.STAT: _stat,
    RecordKind.STAT_ROUND: _stat_round,
    RecordKind.TIME_CONV: _time_conv,
    RecordKind.EVENT_UPDATE: _event_update,
}
