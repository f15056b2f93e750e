"""Rows for databases: what a script gets that sets perf_db_export_mode.

It defines functions of the tables' names; each gets the columns of a row as arguments. Rows
come before others refer to them by id; ids count from 1; numbers of 64 bits are signed since
databases have no others. The columns are those of perf's own scripts export-to-*.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ptrace_client.perf_data.attr import EventKind, SampleType
from ptrace_client.perf_data.model import Record, RecordedEvent, Recording, RecordKind, Sample
from ptrace_client.perf_data.record_bodies import Switch
from ptrace_client.perf_data.record_parsers import record_body
from ptrace_client.perf_script.call_paths import CallReturn, CallReturns
from ptrace_client.perf_script.db_branches import branch_types
from ptrace_client.perf_script.db_places import PlaceRows, symbol_id
from ptrace_client.perf_script.db_rows import MACHINE, Rows, signed64
from ptrace_client.perf_script.db_tasks import TaskRows
from ptrace_client.perf_script.db_threads import Threads, signed32
from ptrace_client.perf_script.script import PerfScript, die

if TYPE_CHECKING:
    from ptrace_client.perf_symbols.model import Location, Machine

_HOST_PID: Final = -1
# attr.type of what perf makes from hardware traces (PERF_TYPE_SYNTH).
_SYNTHESIZED: Final = 0x80000000
# attr.config of the software events whose address is an access's.
_PAGE_FAULTS: Final = (2, 5, 6)
# perf looks up the frames of a chain up to here (PERF_MAX_STACK_DEPTH).
_MAX_STACK: Final = 127
# What data_src is where it was not recorded.
_NO_DATA_SRC: Final = 0x5080021


def start_export(script: PerfScript, recording: Recording, machine: Machine) -> DbExport | None:
    """Begin the export that a script asks for after its trace_begin; None if it wants none."""
    if not _asks(script, "perf_db_export_mode"):
        return None
    rows = Rows(script)
    export = DbExport(
        rows,
        recording,
        machine,
        calls=_asks(script, "perf_db_export_calls"),
        callchains=_asks(script, "perf_db_export_callchains"),
    )
    for flags, name in branch_types():
        rows.add("branch_type_table", flags, name)
    return export


def _asks(script: PerfScript, variable: str) -> bool:
    try:
        return bool(script.namespace.get(variable))
    except BaseException as error:
        die(error)
        raise


class DbExport:
    """An export at work, into `rows`."""

    def __init__(
        self,
        rows: Rows,
        recording: Recording,
        machine: Machine,
        *,
        calls: bool,
        callchains: bool,
    ) -> None:
        self._machine = machine
        self._recording = recording
        self._threads = Threads(recording)
        self._rows = rows
        self._tasks = TaskRows(rows, self._threads)
        self._places = PlaceRows(rows)
        self._events: dict[RecordedEvent, int] = {}
        self._wants_callchains = callchains
        self._returns = CallReturns(self._places.root, self._call_return) if calls else None
        # What takes in the records that are no samples, by kind.
        self.take: dict[int, Callable[[Record], None]] = {
            RecordKind.COMM: self._threads.apply,
            RecordKind.FORK: self._threads.apply,
            RecordKind.SWITCH: self._switch,
            RecordKind.SWITCH_CPU_WIDE: self._switch,
        }

    def sample(self, event: RecordedEvent, sample: Sample) -> None:
        """Export a sample that is not a tracepoint's."""
        event_id = self._event(event)
        self._host()
        thread = self._threads.add(signed32(sample.pid), signed32(sample.tid))
        comm = self._tasks.export(thread)
        number = self._rows.new_id("sample_table")
        data = self._located_data(event, sample)
        # perf looks both up before it makes up symbols: it may make up the same one twice.
        anew = data is not None and not self._places.is_known(data)
        dso, symbol, offset = self._places.place(self._located(sample))
        path = self._path(event, sample) if self._wants_callchains else 0
        data_dso, data_symbol, data_offset = 0, None, 0
        if data is not None:
            data_dso, data_symbol, data_offset = self._places.place(data, anew=anew)
            if self._returns is not None:
                place = (sample.ip, symbol) if sample.ip else (sample.addr, data_symbol)
                self._returns.sample(thread, comm, place, sample.time, number)
        self._rows.add(
            "sample_table",
            number,
            event_id,
            MACHINE,
            thread.db_id,
            comm.db_id if comm else 0,
            dso,
            symbol_id(symbol),
            signed64(offset),
            signed64(sample.ip),
            signed64(sample.time),
            signed32(sample.cpu),
            data_dso,
            symbol_id(data_symbol),
            signed64(data_offset),
            signed64(sample.addr),
            signed64(sample.period),
            signed64(sample.weight),
            signed64(sample.transaction),
            signed64(_NO_DATA_SRC if sample.data_src is None else sample.data_src),
            *(0, 0),  # type of branch, and whether in a transaction: of hardware traces
            path,
            *(0, 0, 0),  # instructions, cycles, flags: of hardware traces
        )
        if event.attr.type == _SYNTHESIZED:
            self._rows.add("synth_data", number, signed64(event.attr.config), sample.raw)

    def finish(self) -> None:
        """Export what the end of the recording ends."""
        if self._returns is not None:
            self._returns.finish(self._threads.in_order())

    def _event(self, event: RecordedEvent) -> int:
        number = self._events.get(event)
        if number is None:
            number = self._events[event] = self._rows.new_id("evsel_table")
            self._rows.add("evsel_table", number, event.name)
        return number

    def _host(self) -> None:
        if not self._rows.has("machine_table"):
            self._rows.add("machine_table", self._rows.new_id("machine_table"), _HOST_PID, "")

    def _located(self, sample: Sample) -> Location:
        return self._machine.locate(sample.tid, sample.cpumode, sample.ip, sample.pid)

    def _located_data(self, event: RecordedEvent, sample: Sample) -> Location | None:
        if not _has_data_address(event):
            return None
        return self._machine.locate_data(sample.tid, sample.cpumode, sample.addr, sample.pid)

    def _path(self, event: RecordedEvent, sample: Sample) -> int:
        """Export the path of calls that led to a sample; return its id, 0 without one."""
        if not event.attr.sample_type & SampleType.CALLCHAIN:
            return 0
        return self._places.path(self._machine.frames(sample)[:_MAX_STACK])

    def _call_return(self, call: CallReturn) -> None:
        path = self._places.call_path(call.path)
        parent = call.path.parent.db_id if call.path.parent else 0
        self._rows.add(
            "call_return_table",
            self._rows.new_id("call_return_table"),
            call.thread.db_id,
            call.comm.db_id if call.comm else 0,
            path,
            signed64(call.call_time),
            signed64(call.return_time),
            call.branch_count,
            call.call_ref,
            call.return_ref,
            parent,
            call.flags,
            *(0, 0, 0),  # the row of the call around it, instructions, cycles
        )

    def _switch(self, record: Record) -> None:
        body = record_body(record, self._recording.big_endian, self._recording.path)
        if not isinstance(body, Switch):
            return
        self._host()
        sample_id = self._recording.sample_id(record)
        here = self._tasks.switched(signed32(sample_id.tid))
        other: tuple[int, int, bool] = (0, 0, False)
        if record.kind == RecordKind.SWITCH_CPU_WIDE:
            other = self._tasks.switched(body.other_tid)
        if all(not thread or is_idle for thread, _, is_idle in (here, other)):
            return
        leaves, comes = (here, other) if body.out else (other, here)
        self._rows.add(
            "context_switch_table",
            self._rows.new_id("context_switch_table"),
            MACHINE,
            signed64(sample_id.time),
            signed32(sample_id.cpu),
            *leaves[:2],
            *comes[:2],
            body.out | (body.out and body.preempt) << 1,
        )


def _has_data_address(event: RecordedEvent) -> bool:
    attr = event.attr
    is_page_fault = attr.type == EventKind.SOFTWARE and attr.config in _PAGE_FAULTS
    return is_page_fault and bool(attr.sample_type & SampleType.ADDR)
