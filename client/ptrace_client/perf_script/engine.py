"""A script in perf's dialect on a recording."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.attr import EventKind, SampleType
from ptrace_client.perf_data.model import Buffer, RecordedEvent, Recording, Sample, Sink
from ptrace_client.perf_script.options import DialectOptions
from ptrace_client.perf_script.read_groups import ReadGroups
from ptrace_client.perf_script.recorded_context import RecordedContext
from ptrace_client.perf_script.records import OtherRecords
from ptrace_client.perf_script.sample_dict import SampleDicts
from ptrace_client.perf_script.script import PerfScript, die
from ptrace_client.perf_script.tracepoint import RecordedAs, Tracepoints
from ptrace_client.script_errors import EndRun

if TYPE_CHECKING:
    from ptrace_client.perf_symbols.model import Machine

_GENERAL = "process_event"


def run_recording(
    script: PerfScript, recording: Recording, machine: Machine, options: DialectOptions
) -> int:
    """Call a loaded script's handlers with the events of a recording; return the exit status.

    Where the recording is damaged, what precedes is delivered and trace_end is called; then
    ClientError is raised. SystemExit is the script's own.
    """
    engine = _Engine(script, recording, machine, options)
    try:
        script.begin(engine.context)
        damage = engine.read()
        script.call("trace_end")
        sys.stdout.flush()
    except EndRun as end:
        return end.status
    finally:
        engine.others.report()
    if damage is not None:
        raise damage
    return 0


class _Engine:
    def __init__(
        self, script: PerfScript, recording: Recording, machine: Machine, options: DialectOptions
    ) -> None:
        self._script = script
        self._recording = recording
        self._machine = machine
        self._stopping = False
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

    def read(self) -> ClientError | None:
        """Deliver all records, until SIGINT; return what is wrong with the recording."""
        with self._stopped_by_signals():
            try:
                self._deliver()
            except ClientError as error:
                return error
        return None

    def _deliver(self) -> None:
        context, apply, others = self.context, self._machine.apply, self.others.take
        for record in self._recording.records():
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
                except ClientError:
                    raise
                except BaseException as error:
                    die(error)
            if self._stopping:
                break

    def _first_sink(self, event: RecordedEvent) -> Sink:
        if event.attr.sample_type & SampleType.READ:
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
                return _no_format
            return self._tracepoints.sink(event, event.format, recorded_as)
        return self._general_sink(event, recorded_as)

    def _general_sink(self, event: RecordedEvent, recorded_as: RecordedAs) -> Sink:
        lookup, parse = self._script.handler, recorded_as.sample or event.layout.sample
        make_dict = self._sample_dicts.of_event(event)
        callchain = self._machine.callchain

        def sink(data: Buffer, start: int, end: int, misc: int, time: int) -> None:
            handler = lookup(_GENERAL)
            if handler is not None:
                sample = parse(data, start, end, misc)
                handler(make_dict(sample, callchain(sample)))

        return sink

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
        self._stopping = True


def _no_format(data: Buffer, start: int, end: int, misc: int, time: int) -> None:
    """Drop a sample of a tracepoint that nobody can take apart."""
