"""A script in perf's dialect on a recording."""

from __future__ import annotations

import contextlib
import itertools
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

from ptrace_client.collector import calm_collector
from ptrace_client.errors import ClientError
from ptrace_client.perf_data import model
from ptrace_client.perf_data.attr import EventKind, SampleType
from ptrace_client.perf_data.model import Buffer, Record, RecordedEvent, Recording, Sample, Sink
from ptrace_client.perf_data.selection import is_selected, select_events
from ptrace_client.perf_script.coverage import idle_warning, takes
from ptrace_client.perf_script.db_export import DbExport, start_export
from ptrace_client.perf_script.options import DialectOptions
from ptrace_client.perf_script.read_groups import ReadGroups
from ptrace_client.perf_script.recorded_context import RecordedContext
from ptrace_client.perf_script.records import OtherRecords
from ptrace_client.perf_script.sample_dict import SampleDicts
from ptrace_client.perf_script.sample_sink import simple_sink
from ptrace_client.perf_script.script import PerfScript, die
from ptrace_client.perf_script.tracepoint import RecordedAs, Tracepoints
from ptrace_client.printing import terminal_safe
from ptrace_client.script_errors import EndRun

if TYPE_CHECKING:
    from ptrace_client.perf_symbols.model import Machine

_GENERAL: Final = "process_event"
# Where the code of the reader lies.
_READER: Final = str(Path(model.__file__).parent)


def run_recording(
    script: PerfScript,
    recording: Recording,
    machine: Machine,
    options: DialectOptions,
    selectors: Sequence[str] = (),
    limit: int | None = None,
) -> int:
    """Call a loaded script's handlers with the events of a recording; return the exit status.

    With `selectors` only the samples of these events are handed over, with `limit` only so many.
    Where the recording is damaged, what precedes is delivered and trace_end is called; then
    ClientError is raised. SystemExit is the script's own.
    """
    engine = _Engine(script, recording, machine, options, selectors, limit)
    try:
        engine.tell_notes()
        script.begin(engine.context)
        engine.begin_export()
        damage = engine.read()
        engine.finish_export()
        script.call("trace_end")
        sys.stdout.flush()
    except EndRun as end:
        return end.status
    finally:
        engine.others.report()
        engine.tell_notes()
    if damage is not None:
        raise damage
    return 0


class _Engine:
    def __init__(
        self,
        script: PerfScript,
        recording: Recording,
        machine: Machine,
        options: DialectOptions,
        selectors: Sequence[str],
        limit: int | None,
    ) -> None:
        self._script = script
        self._recording = recording
        self._machine = machine
        self._selectors = selectors
        self._limit = limit
        self._stopping = False
        # How many of the recording's notes the user has been told.
        self._told = 0
        self._export: DbExport | None = None
        self.context = RecordedContext(recording, machine)
        self.others = OtherRecords(script, recording)
        self._sample_dicts = SampleDicts(recording, machine)
        self._read_groups = ReadGroups(recording, self._member_sink)
        self._tracepoints = Tracepoints(
            script,
            self.context,
            machine,
            self._sample_dicts,
            big_endian=recording.big_endian,
            strict=options.strict,
            sane=options.sane_values,
        )

    def begin_export(self) -> None:
        """Have samples exported to a database, if the script wants that."""
        self._export = start_export(self._script, self._recording, self._machine)
        if self._export is not None:
            self.others.take.update(self._export.take)

    def finish_export(self) -> None:
        """Export what the end of the recording ends."""
        if self._export is not None:
            self._export.finish()

    def read(self) -> ClientError | None:
        """Deliver all records, until SIGINT; return what is wrong with the recording."""
        with self._stopped_by_signals(), calm_collector():
            try:
                if not self._recording.is_pipe:
                    self._check_events()
                self._deliver()
                if self._recording.is_pipe:
                    self._check_events()
            except ClientError as error:
                return error
            except _Stopped:
                pass
        return None

    def tell_notes(self) -> None:
        """Tell the user what is strange about the recording, as far as it is known by now."""
        for note in self._recording.notes[self._told :]:
            print(f"warning: {terminal_safe(note)}", file=sys.stderr)
        self._told = len(self._recording.notes)

    def _check_events(self) -> None:
        """Tell the user of a script that gets no events. Raise ClientError for a wrong -e."""
        events = select_events(self._recording, self._selectors)
        warning = idle_warning(self._script, events, self._recording.path)
        if warning is not None:
            print(f"warning: {warning}", file=sys.stderr)

    def _deliver(self) -> None:
        context, apply, others = self.context, self._machine.apply, self.others.take
        batches = self._recording.batches()
        for batch in batches if self._limit is None else self._first(batches, self._limit):
            for record in batch:
                event, kind, misc, data, start, end, time = record
                if event is None:
                    apply(record)
                    if kind in others:
                        others[kind](record)
                else:
                    context.record = record
                    sink = event.sink or self._first_sink(event)
                    try:
                        sink(data, start, end, misc, time)
                    except (ClientError, _Stopped):
                        raise
                    except BaseException as error:
                        die(error)
                if self._stopping:
                    return

    def _first(self, batches: Iterable[Sequence[Record]], limit: int) -> Iterator[Sequence[Record]]:
        """Yield the records up to the `limit`th that a handler takes."""
        for record in itertools.chain.from_iterable(batches):
            if record.event is not None and self._is_taken(record.event):
                limit -= 1
            yield (record,)
            if not limit:
                return

    def _is_taken(self, event: RecordedEvent) -> bool:
        taken = self._export is not None or takes(self._script, event)
        return taken and is_selected(event, self._selectors)

    def _first_sink(self, event: RecordedEvent) -> Sink:
        if not is_selected(event, self._selectors):
            event.sink = _drop
        elif event.attr.sample_type & SampleType.READ:
            event.sink = self._read_groups.sink(event)
        else:
            event.sink = self._sink(event, RecordedAs(event))
        return event.sink

    def _member_sink(
        self, sampled: RecordedEvent, event: RecordedEvent, sample: Callable[[], Sample]
    ) -> Sink:
        """Return what takes a sample of `sampled` as one of `event`, of the same group."""
        return self._sink(event, RecordedAs(sampled, lambda data, start, end, misc: sample()))

    def _sink(self, event: RecordedEvent, recorded_as: RecordedAs) -> Sink:
        if event.attr.type == EventKind.TRACEPOINT:
            if event.format is None:
                return _drop
            return self._tracepoints.sink(event, event.format, recorded_as)
        return self._general_sink(event, recorded_as)

    def _general_sink(self, event: RecordedEvent, recorded_as: RecordedAs) -> Sink:
        export = self._export
        if export is None and recorded_as.event is event and recorded_as.sample is None:
            order = ">" if self._recording.big_endian else "<"
            dicts = self._sample_dicts.event_dicts(event)
            simple = simple_sink(self._script, self._machine, event, dicts, order)
            if simple is not None:
                return simple
        lookup, parse = self._script.handler, recorded_as.sample or event.layout.sample
        make_dict = self._sample_dicts.of_event(event)
        callchain = self._machine.callchain
        has_chain = bool(recorded_as.event.attr.sample_type & SampleType.CALLCHAIN)

        def export_sink(data: Buffer, start: int, end: int, misc: int, time: int) -> None:
            assert export is not None
            export.sample(event, parse(data, start, end, misc))

        def sink(data: Buffer, start: int, end: int, misc: int, time: int) -> None:
            handler = lookup(_GENERAL)
            if handler is not None:
                sample = parse(data, start, end, misc)
                handler(make_dict(sample, callchain(sample) if has_chain else []))

        return sink if export is None else export_sink

    @contextlib.contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        """Have SIGINT end the reading, after the handler that runs."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            raise EndRun(128 + number)
        self._stopping = True
        reads = frame is not None and frame.f_code.co_filename.startswith(_READER)
        if reads and self._recording.is_pipe:
            # It may wait for the writer.
            raise _Stopped


class _Stopped(BaseException):
    """Ends the reading in its midst."""


def _drop(data: Buffer, start: int, end: int, misc: int, time: int) -> None:
    """Take a sample that nobody wants, or that nobody can take apart."""
