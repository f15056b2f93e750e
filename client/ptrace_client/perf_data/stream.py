"""A recording as a stream of events, like that of a daemon: for scripts whose handlers take
PerfEvents, and for what prints events.

The columns are those that the daemon gives for the same event, as far as the recording has what
they say; common_flags and common_preempt_count are true here. Times are the recording's.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from itertools import groupby
from typing import Final

from ptrace_client.decode import event_name
from ptrace_client.errors import ClientError
from ptrace_client.perf_data.losses import recorded_loss
from ptrace_client.perf_data.model import Record, RecordedEvent, Recording, RecordKind
from ptrace_client.perf_data.recorded_stacks import RecordedStacks
from ptrace_client.perf_data.rows import RowMaker, row_maker
from ptrace_client.perf_data.schemas import event_schema, sendable
from ptrace_client.perf_data.selection import sampled_events
from ptrace_client.perf_symbols.machine import open_machine
from ptrace_client.perf_symbols.model import Machine
from ptrace_proto import ptrace_pb2 as pb

# Records whose rows make a message: with 64 KiB in each these are 64 MiB.
_RECORDS: Final = 1024
_COMM_BYTES: Final = 16
# Records that change what threads are called.
_NAMING: Final = frozenset((RecordKind.COMM, RecordKind.FORK))
_LOSSES: Final = frozenset((RecordKind.LOST, RecordKind.LOST_SAMPLES))


def described_events(recording: Recording, selectors: Sequence[str]) -> list[pb.EventSchema]:
    """Return the schemas of the events that `selectors` name, of all without any.

    Raise ClientError where a selector names none.
    """
    return [event_schema(recording, event) for event in sampled_events(recording, selectors)]


def open_file_stream(
    recording: Recording,
    selectors: Sequence[str],
    projections: Sequence[pb.Projection] = (),
    *,
    machine: Machine | None = None,
    mark_interval: int = 0,
) -> FileStream:
    """Return the stream of the events that `selectors` name, of all without any.

    `projections` are the columns that are wanted, as in a TraceRequest. `machine` names threads
    and addresses. A round mark comes at least every `mark_interval` ns of the recording's time,
    if that is not 0.
    """
    if machine is None:
        machine = open_machine(recording, sane=True)
    return FileStream(recording, selectors, projections, machine, mark_interval)


class _Comms(dict[int, bytes]):
    """Names of threads as rows have them, while they stay the same."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine

    def __missing__(self, tid: int) -> bytes:
        name = self._machine.comm(tid & 0xFFFFFFFF).encode(errors="surrogateescape")
        made = self[tid] = name[: _COMM_BYTES - 1].ljust(_COMM_BYTES, b"\0")
        return made


class FileStream:
    """The events of a recording in the order of perf (the protocol runner.EventStream)."""

    def __init__(
        self,
        recording: Recording,
        selectors: Sequence[str],
        projections: Sequence[pb.Projection],
        machine: Machine,
        mark_interval: int,
    ) -> None:
        self._recording, self._machine = recording, machine
        self._mark_interval = mark_interval
        self._order = ">" if recording.big_endian else "<"
        events = sampled_events(recording, selectors)
        wanted = {it.event: None if it.all_fields else list(it.fields) for it in projections}
        schemas = []
        for event in events:
            schema = event_schema(recording, event)
            columns = wanted.get(event_name(schema))
            if columns is not None:
                schema = event_schema(recording, event, columns)
            schemas.append(schema)
        self._comms = _Comms(machine)
        self._stacks = RecordedStacks(machine, self._order)
        self._makers = {
            event.index: self._maker(event, schema)
            for event, schema in zip(events, schemas, strict=True)
        }
        self._delivered = dict.fromkeys(self._makers, 0)
        self._lost = dict.fromkeys(self._makers, 0)
        self._losses: list[pb.Loss] = []
        # All before it has been sent, ns.
        self._reached = 0
        self._notes = 0
        self._stopped = self._ended = False
        self._error: ClientError | None = None
        self._chunks = self._chunked()
        self._ahead = self._pull()
        self._reached = start = self._time_of(self._ahead)
        self.started = pb.Started(
            session_id=sendable(recording.path),
            schemas=schemas,
            realtime_offset=_realtime_offset(recording),
            start_time=start,
        )

    @property
    def clock_offset(self) -> int:
        """The recording's time, as far as it has been read, less that of this machine, ns."""
        return self._reached - time.monotonic_ns()

    def next(self, timeout: float | None) -> pb.TraceResponse | None:
        """Return the next message, without waiting; EOFError after the last.

        Raise ClientError where the recording is damaged, behind what comes before that.
        """
        if self._ended:
            raise EOFError
        chunk = [] if self._stopped else self._ahead or self._pull()
        if not chunk or self._stopped:
            self._ended = True
            if self._error is not None and not self._stopped:
                raise self._error
            return self._end()
        # Of a pipe nothing waits for what comes next: that may take its time.
        self._ahead = [] if self._recording.is_pipe else self._pull()
        message = self._message(chunk)
        self._reached = max(self._reached, self._passed(chunk))
        message.mark.time = self._reached
        return message

    def _passed(self, chunk: Sequence[Record]) -> int:
        """Return the time before which all events are in `chunk` or before it."""
        if self._ahead:
            return self._time_of(self._ahead)
        return max(record.time for record in chunk) + 1

    def stop(self) -> None:
        """End the stream with the next message."""
        self._stopped = True

    def cancel(self) -> None:
        """Read no more."""
        self._ended = True
        self._chunks.close()

    def wake(self) -> None:
        """Do nothing: next() never waits."""

    def _maker(self, event: RecordedEvent, schema: pb.EventSchema) -> RowMaker:
        return row_maker(
            event,
            schema,
            order=self._order,
            comms=self._comms,
            stack_of=self._stacks.number,
            where=self._recording.path,
        )

    def _chunked(self) -> Generator[list[Record], None, None]:
        for portion in self._recording.batches():
            for start in range(0, len(portion), _RECORDS):
                chunk = list(portion[start : start + _RECORDS])
                if not self._mark_interval:
                    yield chunk
                    continue
                for _, group in groupby(chunk, lambda it: it.time // self._mark_interval):
                    yield list(group)

    def _pull(self) -> list[Record]:
        """Return the next records, none at the end or at an error, which is kept."""
        try:
            return next(self._chunks, [])
        except ClientError as error:
            self._error = error
            return []

    def _time_of(self, records: Sequence[Record]) -> int:
        """Return when records start, ns; when the last ones did where they do not tell."""
        return next((record.time for record in records if record.time > 0), self._reached)

    def _message(self, records: Sequence[Record]) -> pb.TraceResponse:
        makers = self._makers
        for event, kind, misc, data, start, end, at in records:
            if event is None:
                self._other(Record(event, kind, misc, data, start, end, at))
                continue
            maker = makers.get(event.index)
            if maker is not None:
                maker.sink(data, start, end, misc, at)
        message = pb.TraceResponse(losses=self._losses, warnings=self._warnings())
        self._stacks.put(message)
        self._losses = []
        for index, maker in makers.items():
            for cpu, rows in maker.rows.items():
                if rows:
                    self._delivered[index] += len(rows)
                    message.batches.add(
                        schema_id=index, cpu=cpu, count=len(rows), rows=b"".join(rows)
                    )
                    rows.clear()
        return message

    def _other(self, record: Record) -> None:
        """Take in a record that is no sample."""
        self._machine.apply(record)
        if record.kind in _NAMING:
            self._comms.clear()
        self._stacks.changed(record)
        if record.kind in _LOSSES:
            loss = recorded_loss(self._recording, record, self._makers, self._reached)
            if loss is not None:
                self._losses.append(loss)
                self._lost[loss.schema_id] += loss.count

    def _warnings(self) -> list[pb.Warning]:
        notes = self._recording.notes[self._notes :]
        self._notes += len(notes)
        return [pb.Warning(text=sendable(note)) for note in notes]

    def _end(self) -> pb.TraceResponse:
        message = self._message([])
        message.end.reason = pb.END_REASON_STOPPED
        for index, delivered in self._delivered.items():
            message.end.totals.add(schema_id=index, delivered=delivered, lost=self._lost[index])
        return message


def _realtime_offset(recording: Recording) -> int:
    """Return the wall clock minus the recording's clock, ns; 0 where it does not say."""
    noted = recording.features.clock_data
    return noted[1] - noted[2] if noted is not None else 0
