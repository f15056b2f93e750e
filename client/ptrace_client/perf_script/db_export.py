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
from ptrace_client.perf_script.call_paths import CallPath, CallReturn, CallReturns, DbSymbol
from ptrace_client.perf_script.db_branches import branch_types
from ptrace_client.perf_script.db_threads import Comm, Thread, Threads, signed32
from ptrace_client.perf_script.script import PerfScript, die

if TYPE_CHECKING:
    from ptrace_client.perf_symbols.model import Dso, Location, Machine

_MACHINE: Final = 1
_HOST_PID: Final = -1
# attr.type of what perf makes from hardware traces (PERF_TYPE_SYNTH).
_SYNTHESIZED: Final = 0x80000000
# attr.config of the software events whose address is an access's.
_PAGE_FAULTS: Final = (2, 5, 6)
# perf looks up the frames of a chain up to here (PERF_MAX_STACK_DEPTH).
_MAX_STACK: Final = 127
# What data_src is where it was not recorded.
_NO_DATA_SRC: Final = 0x5080021

_TABLES: Final = (
    "evsel_table",
    "machine_table",
    "thread_table",
    "comm_table",
    "comm_thread_table",
    "dso_table",
    "symbol_table",
    "branch_type_table",
    "sample_table",
    "call_path_table",
    "call_return_table",
    "context_switch_table",
    "synth_data",
)


def start_export(script: PerfScript, recording: Recording, machine: Machine) -> DbExport | None:
    """Begin the export that a script asks for after its trace_begin; None if it wants none."""
    if not _asks(script, "perf_db_export_mode"):
        return None
    export = DbExport(
        script,
        recording,
        machine,
        calls=_asks(script, "perf_db_export_calls"),
        callchains=_asks(script, "perf_db_export_callchains"),
    )
    for flags, name in branch_types():
        export.row("branch_type_table", flags, name)
    return export


def _asks(script: PerfScript, variable: str) -> bool:
    try:
        return bool(script.namespace.get(variable))
    except BaseException as error:
        die(error)
        raise


class DbExport:
    """An export at work; the functions are those that the script has when it begins."""

    def __init__(
        self,
        script: PerfScript,
        recording: Recording,
        machine: Machine,
        *,
        calls: bool,
        callchains: bool,
    ) -> None:
        self._handlers = {table: script.handler(table) for table in _TABLES}
        self._machine = machine
        self._recording = recording
        self._threads = Threads(recording)
        self._last_ids: dict[str, int] = {}
        self._events: dict[RecordedEvent, int] = {}
        self._dsos: dict[Dso, int] = {}
        # By file, start and name; those that perf makes up have the name None.
        self._symbols: dict[tuple[Dso, int, str | None], DbSymbol] = {}
        self._root = CallPath()
        self._wants_callchains = callchains
        self._returns = CallReturns(self._root, self._call_return) if calls else None
        # What takes in the records that are no samples, by kind.
        self.take: dict[int, Callable[[Record], None]] = {
            RecordKind.COMM: self._threads.apply,
            RecordKind.FORK: self._threads.apply,
            RecordKind.SWITCH: self._switch,
            RecordKind.SWITCH_CPU_WIDE: self._switch,
        }

    def row(self, table: str, *columns: object) -> None:
        """Hand a row to the script."""
        handler = self._handlers[table]
        if handler is None:
            return
        try:
            handler(*columns)
        except BaseException as error:
            die(error)

    def sample(self, event: RecordedEvent, sample: Sample) -> None:
        """Export a sample that is not a tracepoint's."""
        event_id = self._event(event)
        self._host()
        thread = self._threads.add(signed32(sample.pid), signed32(sample.tid))
        comm = self._thread_and_comms(thread)
        number = self._new_id("sample_table")
        data = self._located_data(event, sample)
        # perf looks both up before it makes up symbols: it may make up the same one twice.
        anew = data is not None and not self._is_known(data)
        dso, symbol, offset = self._place(self._located(sample))
        path = self._path(event, sample) if self._wants_callchains else 0
        data_dso, data_symbol, data_offset = 0, None, 0
        if data is not None:
            data_dso, data_symbol, data_offset = self._place(data, anew=anew)
            if self._returns is not None:
                place = (sample.ip, symbol) if sample.ip else (sample.addr, data_symbol)
                self._returns.sample(thread, comm, place, sample.time, number)
        self.row(
            "sample_table",
            number,
            event_id,
            _MACHINE,
            thread.db_id,
            comm.db_id if comm else 0,
            dso,
            _id(symbol),
            signed64(offset),
            signed64(sample.ip),
            signed64(sample.time),
            signed32(sample.cpu),
            data_dso,
            _id(data_symbol),
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
            self.row("synth_data", number, signed64(event.attr.config), sample.raw)

    def finish(self) -> None:
        """Export what the end of the recording ends."""
        if self._returns is not None:
            self._returns.finish(self._threads.in_order())

    def _new_id(self, table: str) -> int:
        number = self._last_ids[table] = self._last_ids.get(table, 0) + 1
        return number

    def _event(self, event: RecordedEvent) -> int:
        number = self._events.get(event)
        if number is None:
            number = self._events[event] = self._new_id("evsel_table")
            self.row("evsel_table", number, event.name)
        return number

    def _host(self) -> None:
        if "machine_table" not in self._last_ids:
            self.row("machine_table", self._new_id("machine_table"), _HOST_PID, "")

    def _thread_and_comms(self, thread: Thread) -> Comm | None:
        """Export a thread, its process's first thread and their names; return the program's."""
        main_thread = self._threads.main_thread(thread)
        program = None
        if main_thread is not None:
            self._thread(main_thread, main_thread)
            program = self._threads.program(main_thread)
            if not program.db_id:
                self._comm(program, main_thread)
                self._comm_thread(program, main_thread)
        if thread is not main_thread:
            is_new = not thread.db_id
            self._thread(thread, main_thread)
            if program is not None and is_new:
                self._comm_thread(program, thread)
        if not thread.comms[0].db_id:
            self._comm(thread.comms[0], thread)
        return program

    def _thread(self, thread: Thread, main_thread: Thread | None) -> None:
        if thread.db_id:
            return
        thread.db_id = self._new_id("thread_table")
        main_id = main_thread.db_id if main_thread else 0
        self.row("thread_table", thread.db_id, _MACHINE, main_id, thread.pid, thread.tid)

    def _comm(self, comm: Comm, thread: Thread) -> None:
        comm.db_id = self._new_id("comm_table")
        start = signed64(comm.start)
        self.row("comm_table", comm.db_id, comm.text, thread.db_id, start, int(comm.exec))

    def _comm_thread(self, comm: Comm, thread: Thread) -> None:
        number = self._new_id("comm_thread_table")
        self.row("comm_thread_table", number, comm.db_id, thread.db_id)

    def _located(self, sample: Sample) -> Location:
        return self._machine.locate(sample.tid, sample.cpumode, sample.ip, sample.pid)

    def _located_data(self, event: RecordedEvent, sample: Sample) -> Location | None:
        if not _has_data_address(event):
            return None
        return self._machine.locate_data(sample.tid, sample.cpumode, sample.addr, sample.pid)

    def _is_known(self, location: Location) -> bool:
        map = location.map
        if map is None or location.symbol is not None:
            return True
        return (map.dso, map.to_file(location.address), None) in self._symbols

    def _place(
        self, location: Location, *, unknown_at: int | None = None, anew: bool = False
    ) -> tuple[int, DbSymbol | None, int]:
        """Export where an address lies; return file's id, symbol, offset into it.

        What lies in a file outside its symbols gets a symbol of its own, at `unknown_at` where
        that is not the place in the file; `anew` makes another one than there may be.
        """
        map = location.map
        if map is None:
            return 0, None, 0
        dso = self._dso(map.dso)
        symbol = location.symbol
        if symbol is not None:
            columns = (symbol.start, symbol.end, symbol.binding)
            return dso, self._symbol(map.dso, symbol.name, columns), location.symbol_offset
        start = map.to_file(location.address)
        if unknown_at is not None and (map.dso, start, None) not in self._symbols:
            start = unknown_at
        return dso, self._symbol(map.dso, None, (start, start, 0), anew=anew), 0

    def _dso(self, dso: Dso) -> int:
        number = self._dsos.get(dso)
        if number is None:
            number = self._dsos[dso] = self._new_id("dso_table")
            names = (dso.short_name, dso.long_name)
            self.row("dso_table", number, _MACHINE, *names, dso.build_id.hex())
        return number

    def _symbol(
        self, dso: Dso, name: str | None, place: tuple[int, int, int], *, anew: bool = False
    ) -> DbSymbol:
        """Export a symbol; `place` is its start, end and binding."""
        start, end, binding = place
        symbol = self._symbols.get((dso, start, name))
        if symbol is not None and not anew:
            return symbol
        new = DbSymbol(self._new_id("symbol_table"))
        self._symbols.setdefault((dso, start, name), new)
        columns = (signed64(start), signed64(end), binding)
        text = "unknown" if name is None else name
        self.row("symbol_table", new.db_id, self._dsos[dso], *columns, text)
        return new

    def _path(self, event: RecordedEvent, sample: Sample) -> int:
        """Export the path of calls that led to a sample; return its id, 0 without one."""
        if not event.attr.sample_type & SampleType.CALLCHAIN:
            return 0
        path = self._root
        for frame in reversed(self._machine.frames(sample)[:_MAX_STACK]):
            _, symbol, _ = self._place(frame, unknown_at=frame.address)
            path = path.child(symbol, frame.address)
        return 0 if path is self._root else self._call_path(path)

    def _call_path(self, path: CallPath) -> int:
        missing = []
        at: CallPath | None = path
        while at is not None and not at.db_id:
            missing.append(at)
            at = at.parent
        for each in reversed(missing):
            each.db_id = self._new_id("call_path_table")
            parent = each.parent.db_id if each.parent else 0
            self.row("call_path_table", each.db_id, parent, _id(each.symbol), signed64(each.ip))
        return path.db_id

    def _call_return(self, call: CallReturn) -> None:
        path = self._call_path(call.path)
        parent = call.path.parent.db_id if call.path.parent else 0
        self.row(
            "call_return_table",
            self._new_id("call_return_table"),
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
        here = self._switched(signed32(sample_id.tid))
        other: tuple[int, int, bool] = (0, 0, False)
        if record.kind == RecordKind.SWITCH_CPU_WIDE:
            other = self._switched(body.other_tid)
        if all(not thread or is_idle for thread, _, is_idle in (here, other)):
            return
        leaves, comes = (here, other) if body.out else (other, here)
        self.row(
            "context_switch_table",
            self._new_id("context_switch_table"),
            _MACHINE,
            signed64(record.time),
            signed32(sample_id.cpu),
            *leaves[:2],
            *comes[:2],
            body.out | (body.out and body.preempt) << 1,
        )

    def _switched(self, tid: int) -> tuple[int, int, bool]:
        """Export a thread of a switch; return its id, its name's, and whether it is idle."""
        thread = self._threads.find(tid)
        if thread is None or not thread.is_named:
            return 0, 0, False
        comm = self._thread_and_comms(thread)
        return thread.db_id, comm.db_id if comm else 0, thread.pid == thread.tid == 0


def _has_data_address(event: RecordedEvent) -> bool:
    attr = event.attr
    is_page_fault = attr.type == EventKind.SOFTWARE and attr.config in _PAGE_FAULTS
    return is_page_fault and bool(attr.sample_type & SampleType.ADDR)


def _id(symbol: DbSymbol | None) -> int:
    return symbol.db_id if symbol else 0


def signed64(value: int) -> int:
    """Return a u64 as the s64 of the same bits."""
    return ((value & (1 << 64) - 1) ^ 1 << 63) - (1 << 63)
