"""From records other than samples to what they say."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final

from ptrace_client.perf_data.cursor import Cursor
from ptrace_client.perf_data.model import Record, RecordKind
from ptrace_client.perf_data.record_bodies import (
    MISC_13,
    MISC_14,
    Aux,
    Body,
    BpfEvent,
    Cgroup,
    Comm,
    CpuMap,
    EventUpdate,
    HardwareId,
    IdIndex,
    KernelSymbol,
    Lost,
    Mapping,
    Namespaces,
    Stat,
    StatConfig,
    StatRound,
    Switch,
    Task,
    TextPoke,
    ThreadMap,
    Throttle,
    TimeConversion,
    Trace,
    TraceError,
    TraceInfo,
    TraceStart,
)

_HEADER: Final = 8
_BUILD_ID_SIZE: Final = 20
_COMM_SIZE: Final = 16
# In a CPU_MAP: -1 in 16 bits.
_ANY_CPU: Final = 0xFFFF


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
        return CpuMap(tuple(_mask(fields, count)))
    if kind != 2:
        raise fields.fail(f"a map of processors of type {kind}")
    # Where the lists have their count, ranges have a byte that tells of -1.
    any_cpu = fields.data[fields.position - 2]
    first, last = fields.numbers("2H")
    return CpuMap((*((-1,) if any_cpu else ()), *range(first, last + 1)))


def _mask(fields: _Fields, count: int) -> Iterator[int]:
    """Yield the processors of a bit mask of `count` words."""
    size = fields.numbers("H")[0]
    if size not in (4, 8):
        raise fields.fail(f"a map of processors with words of {size} bytes")
    if size == 8:
        fields.skip(2)
    for place, word in enumerate(fields.numbers(f"{count}{'Q' if size == 8 else 'I'}")):
        for bit in range(size * 8):
            if word >> bit & 1:
                yield place * size * 8 + bit


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
