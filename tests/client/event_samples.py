"""Schemas, batches and streams that tests make by hand."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ptrace_client.decode import DYNAMIC_KINDS
from ptrace_proto import ptrace_pb2 as pb

SIGNED, UNSIGNED = pb.FIELD_KIND_SIGNED, pb.FIELD_KIND_UNSIGNED
POINTER, BOOL = pb.FIELD_KIND_POINTER, pb.FIELD_KIND_BOOL
CHARS, BYTES = pb.FIELD_KIND_CHAR_ARRAY, pb.FIELD_KIND_BYTES
DYNAMIC_STRING, DYNAMIC_BYTES = pb.FIELD_KIND_DYNAMIC_STRING, pb.FIELD_KIND_DYNAMIC_BYTES
STACK, READ, REGS = pb.FIELD_KIND_STACK, pb.FIELD_KIND_READ, pb.FIELD_KIND_REGS

# Name, kind, bytes.
Column = tuple[str, "pb.FieldKind", int]

COMMON: tuple[Column, ...] = (
    ("_time", UNSIGNED, 8),
    ("_pid", SIGNED, 4),
    ("_tid", SIGNED, 4),
    ("_comm", CHARS, 16),
    ("common_flags", UNSIGNED, 1),
    ("common_preempt_count", UNSIGNED, 1),
)
WAKEUP: tuple[Column, ...] = (
    ("comm", CHARS, 16),
    ("pid", SIGNED, 4),
    ("prio", SIGNED, 4),
    ("target_cpu", SIGNED, 4),
)
CALLCHAIN: Column = ("_callchain", STACK, 4)
PROFILE: tuple[Column, ...] = (
    ("ip", POINTER, 8),
    ("period", UNSIGNED, 8),
    ("callchain", STACK, 4),
)
REALTIME_OFFSET = 1_700_000_000_000_000_000


def make_schema(
    name: str = "sched:sched_wakeup",
    own: Sequence[Column] = WAKEUP,
    *,
    common: Sequence[Column] = COMMON,
    columns: Iterable[str] | None = None,
    alias: str = "",
    number: int = 1,
) -> pb.EventSchema:
    """Return a packed schema; with `columns` only "_time" and those are in its rows."""
    system, _, event = name.partition(":")
    schema = pb.EventSchema(id=number, system=system, name=event, alias=alias, common_type=374)
    offset = 0
    wanted = None if columns is None else {"_time", *columns}
    for column, kind, size in (*common, *own):
        if wanted is None or column in wanted:
            schema.fields.add(name=column, kind=kind, offset=offset, size=size)
            offset += size
            schema.has_dynamic |= kind in DYNAMIC_KINDS
    schema.row_size = offset
    for column, kind, size in own:
        schema.all_fields.add(name=column, kind=kind, size=size, type=_c_type(kind, size))
    return schema


def make_sample_schema(
    name: str = "profile",
    members: Sequence[Column] = PROFILE,
    *,
    on_request: Sequence[Column] = (),
    columns: Iterable[str] | None = None,
    **values: Any,
) -> pb.EventSchema:
    """Return the schema of a sampled event.

    Its rows have "_time" and, without `columns`, "_pid", "_tid" and the members, else `columns`.
    """
    every = (*COMMON[:4], *members, *on_request)
    usual = ("_pid", "_tid", *(member[0] for member in members))
    wanted = usual if columns is None else columns
    schema = make_schema(f":{name}", every, common=(), columns=wanted, **values)
    del schema.all_fields[:4]
    for info in schema.all_fields[len(members) :]:
        info.on_request = True
    schema.source = pb.EVENT_SOURCE_SAMPLE
    schema.sample.counter = "cpu-clock"
    schema.stack = any(kind == STACK for _, kind, _ in members)
    return schema


def make_stack(number: int, *frames: tuple[int, str, int, bool, str]) -> pb.Stack:
    """Return a stack of frames given as (address, symbol, offset, kernel, dso)."""
    stack = pb.Stack(id=number)
    for address, symbol, offset, kernel, dso in frames:
        stack.frames.add(address=address, symbol=symbol, offset=offset, kernel=kernel, dso=dso)
    return stack


def _c_type(kind: int, size: int) -> str:
    if kind == CHARS:
        return f"char[{size}]"
    return "__data_loc char[]" if kind == DYNAMIC_STRING else "int"


def make_batch(schema: pb.EventSchema, *rows: dict[str, Any], cpu: int = 0) -> pb.Batch:
    """Return a batch with these values; columns that a row does not name are 0 or empty."""
    data = b"".join(_row(schema, row) for row in rows)
    return pb.Batch(schema_id=schema.id, cpu=cpu, count=len(rows), rows=data)


def _row(schema: pb.EventSchema, values: dict[str, Any]) -> bytes:
    fixed, tail = b"", b""
    for field in schema.fields:
        if field.kind in (CHARS, BYTES):
            fixed += struct.pack(f"{field.size}s", values.get(field.name, b""))
        elif field.kind in DYNAMIC_KINDS:
            data = values.get(field.name, b"")
            fixed += struct.pack("<II", schema.row_size + len(tail), len(data))
            tail += data
        else:
            sign = field.kind == SIGNED
            fixed += int(values.get(field.name, 0)).to_bytes(field.size, "little", signed=sign)
    row = fixed + tail
    return struct.pack("<I", len(row)) + row if schema.has_dynamic else row


def make_started(*schemas: pb.EventSchema) -> pb.Started:
    """Return what opens a stream of these schemas."""
    return pb.Started(session_id="s-1", schemas=schemas, realtime_offset=REALTIME_OFFSET)


def make_end(reason: pb.EndReason = pb.END_REASON_STOPPED, text: str = "") -> pb.TraceResponse:
    """Return the last message of a stream."""
    return pb.TraceResponse(end=pb.End(reason=reason, text=text))


def make_mark(time: int) -> pb.TraceResponse:
    """Return a message with nothing but a round mark."""
    return pb.TraceResponse(mark=pb.RoundMark(time=time))


def make_loss(count: int, start: int = 0, end: int = 0, **values: Any) -> pb.Loss:
    """Return a loss of the kernel buffer of CPU 0, of schema 1."""
    defaults = {"schema_id": 1, "cpu": 0, "stage": pb.LOSS_STAGE_KERNEL_BUFFER}
    return pb.Loss(count=count, start_time=start, end_time=end, **{**defaults, **values})


Item = pb.TraceResponse | Exception | Callable[[], None] | None


class FakeStream:
    """A stream of prepared items.

    An exception is raised, a function is called, and None is a time-out; an end comes by
    itself behind the last item, and the rest of the items as soon as the run asks to stop.
    """

    def __init__(self, started: pb.Started, items: Iterable[Item] = ()) -> None:
        self.started = started
        self.clock_offset = 0
        self.items: deque[Item] = deque(items)
        self.stopped = 0
        self.cancelled = 0
        self.woken = 0
        self.timeouts: list[float | None] = []
        self._ended = False

    def next(self, timeout: float | None) -> pb.TraceResponse | None:
        """Return the next item, see the class."""
        self.timeouts.append(timeout)
        while self.items:
            item = self.items.popleft()
            if isinstance(item, Exception):
                raise item
            if not callable(item):
                self._ended = item is not None and item.HasField("end")
                return item
            item()
        if self._ended:
            raise EOFError
        self._ended = True
        return make_end()

    def stop(self) -> None:
        """Count the call."""
        self.stopped += 1

    def cancel(self) -> None:
        """Count the call."""
        self.cancelled += 1

    def wake(self) -> None:
        """Count the call."""
        self.woken += 1
