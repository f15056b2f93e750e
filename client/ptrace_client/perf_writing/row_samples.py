"""Samples made of the rows of a stream: the record that perf would have got from the kernel."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, TypeAlias

from ptrace_client.decode import row_spans
from ptrace_client.errors import ClientError
from ptrace_client.perf_data.model import CpuMode, RecordKind
from ptrace_client.perf_writing.chains import NO_CHAIN, Chains
from ptrace_formats.event_format import EventFormat, FormatField
from ptrace_proto import ptrace_pb2 as pb

# Time in ns, process, thread, name of the thread (16 bytes) or None, and the record.
Entry: TypeAlias = tuple[int, int, int, bytes | None, bytes]

# Header, IDENTIFIER, IP, TID, TIME, CPU, PERIOD.
_HEAD: Final = struct.Struct("<IHHQQIIQIIQ")
# The same with ADDR, which is before CPU.
_HEAD_ADDR: Final = struct.Struct("<IHHQQIIQQIIQ")
_RECORD_MAX: Final = 0xFFF8
# Place and length of dynamic data have 16 bits each.
_LOCATOR_MAX: Final = 0xFFFF
_KERNEL_HALF: Final = 1 << 63
_DYNAMIC: Final = (pb.FIELD_KIND_DYNAMIC_STRING, pb.FIELD_KIND_DYNAMIC_BYTES)
# Columns that are numbers here; all others are copied as they are.
_NUMBERS: Final = {"_time": "Q", "_pid": "I", "_tid": "I"}
_OF_TRACEPOINTS: Final = _NUMBERS | {
    "common_flags": "B",
    "common_preempt_count": "B",
    "_callchain": "I",
}
_OF_SAMPLED: Final = _NUMBERS | {"callchain": "I", "ip": "Q", "addr": "Q", "period": "Q"}
# Common fields of records that are known, by their names in formats: the columns they are from.
_COMMON: Final = {
    "common_flags": "common_flags",
    "common_preempt_count": "common_preempt_count",
    "common_pid": "_tid",
}
_COMMON_CODES: Final = {"common_type": "H"} | {
    name: _OF_TRACEPOINTS[_COMMON[name]] for name in _COMMON
}


class Rows:
    """Takes the rows of a schema apart: tuples of all columns, dynamic ones as two numbers."""

    def __init__(self, schema: pb.EventSchema, numbers: Mapping[str, str]) -> None:
        self._name = f"{schema.system}:{schema.name}"
        self._dynamic = schema.has_dynamic
        self.places: dict[str, int] = {}
        code, position, place = "<", 0, 0
        for field in schema.fields:
            if field.offset < position:
                raise ClientError(f"the server sent overlapping columns for {self._name}", 1)
            dynamic = field.kind in _DYNAMIC
            own = "II" if dynamic else numbers.get(field.name, f"{field.size}s")
            code += f"{field.offset - position}x{own}"
            position = field.offset + field.size
            self.places[field.name] = place
            place += 1 + dynamic
        if position > schema.row_size or struct.calcsize(code) != position:
            raise ClientError(f"the server sent columns of a wrong size for {self._name}", 1)
        self._struct = struct.Struct(f"{code}{schema.row_size - position}x")

    def of(self, batch: pb.Batch) -> Iterator[tuple[Any, ...]]:
        """Yield the rows; of those with dynamic data the last item is the row as bytes."""
        data = batch.rows
        if not self._dynamic:
            if len(data) != batch.count * self._struct.size:
                raise self._damaged()
            yield from self._struct.iter_unpack(data)
            return
        for start, end in row_spans(data):
            if end - start < self._struct.size or end > len(data):
                raise self._damaged()
            yield (*self._struct.unpack_from(data, start), data[start:end])

    def _damaged(self) -> ClientError:
        return ClientError(f"the server sent a damaged batch of {self._name}", 1)


class TracepointSamples:
    """Samples with raw records, as `format` lays them out, of the event with the id `id`."""

    def __init__(
        self, schema: pb.EventSchema, format: EventFormat, id: int, chains: Chains
    ) -> None:
        self._rows = Rows(schema, _OF_TRACEPOINTS)
        self._id = id
        self._chains = chains if "_callchain" in self._rows.places else None
        self._raw = _raw_maker(self._rows.places, schema, format)
        places = self._rows.places
        self._common = itemgetter(*(places[name] for name in ("_time", "_pid", "_tid", "_comm")))

    def entries(self, batch: pb.Batch) -> Iterator[Entry]:
        """Yield an entry per row."""
        id, cpu, raw, common = self._id, batch.cpu, self._raw, self._common
        chain, chains = NO_CHAIN, self._chains
        place = self._rows.places.get("_callchain", 0)
        pack, fixed = _HEAD.pack, _HEAD.size
        for row in self._rows.of(batch):
            time, pid, tid, comm = common(row)
            tail = raw(row)
            if chains is not None:
                chain = chains[row[place]]
                tail = chain.data + tail
            size = fixed + len(tail)
            if size > _RECORD_MAX:
                raise ClientError(f"an event of {size} bytes does not fit into a record", 1)
            head = pack(
                *(RecordKind.SAMPLE, chain.mode, size, id, chain.ip, pid, tid, time, cpu, 0, 1)
            )
            yield time, pid, tid, comm, head + tail


class SampledSamples:
    """Samples of an event that samples, with the id `id`."""

    def __init__(self, schema: pb.EventSchema, id: int, chains: Chains) -> None:
        self._rows = Rows(schema, _OF_SAMPLED)
        self._id = id
        self._chains = chains if "callchain" in self._rows.places else None

    def entries(self, batch: pb.Batch) -> Iterator[Entry]:
        """Yield an entry per row."""
        places = self._rows.places
        names = ("_time", "_pid", "_tid", "_comm", "ip", "addr", "period")
        wanted = itemgetter(*(places[name] for name in names))
        for row in self._rows.of(batch):
            time, pid, tid, comm, ip, addr, period = wanted(row)
            tail = self._chains[row[places["callchain"]]].data if self._chains is not None else b""
            mode = CpuMode.USER if 0 < ip < _KERNEL_HALF else CpuMode.KERNEL
            head = _HEAD_ADDR.pack(
                *(RecordKind.SAMPLE, mode, _HEAD_ADDR.size + len(tail), self._id, ip),
                *(pid, tid, time, addr, batch.cpu, 0, period),
            )
            yield time, pid, tid, comm, head + tail


def _raw_maker(
    places: dict[str, int], schema: pb.EventSchema, format: EventFormat
) -> Callable[[tuple[Any, ...]], bytes]:
    """Return what makes PERF_SAMPLE_RAW, its size included, of a row."""
    columns = {field.name: field for field in schema.fields}
    known = [
        field
        for field in (*format.common, *format.fields)
        if field.name == "common_type" or _COMMON.get(field.name, field.name) in columns
    ]
    known.sort(key=lambda field: field.offset)
    code, position = "<I", 0
    for field in known:
        if field.offset < position:
            raise ClientError(f"the format of {format.title} has overlapping fields", 1)
        own = _COMMON_CODES.get(field.name) or _own_code(field, columns[field.name], format)
        code += f"{field.offset - position}x{own}"
        position = field.offset + field.size
    end = max(position, *(field.offset + field.size for field in (*format.common, *format.fields)))
    if known[0].name != "common_type":
        raise ClientError(f"the records of {format.title} do not begin with their type", 1)
    if any(field.kind in _DYNAMIC for field in known):
        return _dynamic_maker(places, known, format.id, f"{code}{end - position}x", end)
    size = end + -(end + 4) % 8
    packed = struct.Struct(f"{code}{size - position}x")
    wanted = [places[_COMMON.get(field.name, field.name)] for field in known[1:]]
    values, pack, id = itemgetter(*wanted), packed.pack, format.id
    return lambda row: pack(size, id, *values(row))


def _own_code(field: FormatField, column: pb.Field, format: EventFormat) -> str:
    if field.kind in _DYNAMIC:
        return "I"
    if field.size != column.size:
        raise ClientError(f"the server sent {field.name} of {format.title} in a wrong size", 1)
    return f"{field.size}s"


def _dynamic_maker(
    places: dict[str, int], known: Sequence[FormatField], id: int, code: str, end: int
) -> Callable[[tuple[Any, ...]], bytes]:
    """As _raw_maker(), for records with dynamic data, which goes behind their fixed part."""
    packed = struct.Struct(code)
    fields = [
        (places[_COMMON.get(field.name, field.name)], field if field.kind in _DYNAMIC else None)
        for field in known[1:]
    ]

    def make(row: tuple[Any, ...]) -> bytes:
        values: list[Any] = []
        behind: list[bytes] = []
        at = end
        for place, dynamic in fields:
            if dynamic is None:
                values.append(row[place])
                continue
            start, length = row[place], row[place + 1]
            data = row[-1][start : start + length]
            base = dynamic.offset + dynamic.size if dynamic.relative else 0
            if at + len(data) > _LOCATOR_MAX:
                raise ClientError(f"data of {len(data)} bytes does not fit into a record", 1)
            values.append(len(data) << 16 | at - base)
            behind.append(data)
            at += len(data)
        padding = -(at + 4) % 8
        return packed.pack(at + padding, id, *values) + b"".join(behind) + bytes(padding)

    return make
