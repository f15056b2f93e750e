"""Records that are no samples, handed to a script: switches, throttling, errors, counts, losses."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

from ptrace_client.perf_data.model import Record, Recording, RecordKind
from ptrace_client.perf_data.record_bodies import (
    CpuMap,
    Lost,
    Stat,
    StatConfig,
    StatRound,
    Switch,
    ThreadMap,
    Throttle,
    TraceError,
)
from ptrace_client.perf_data.record_parsers import record_body
from ptrace_client.perf_script.script import PerfScript
from ptrace_client.perf_script.statistics import Statistics

# The host, in whose place a guest may be; and no processor of a guest.
_HOST: Final = -1
_NO_VCPU: Final = -1
_COUNTS: Final = (
    RecordKind.CPU_MAP,
    RecordKind.THREAD_MAP,
    RecordKind.STAT_CONFIG,
    RecordKind.STAT,
    RecordKind.STAT_ROUND,
)


class OtherRecords:
    """Calls a script's functions with what is no sample; `take` has a function for each kind."""

    def __init__(self, script: PerfScript, recording: Recording) -> None:
        self._script = script
        self._recording = recording
        self._statistics = Statistics(recording, script)
        # Events that the kernel dropped: as it told at once, and as its counters say at the end.
        self._lost_told = 0
        self._lost_counted = 0
        self._lost_at = 0
        self.take: dict[int, Callable[[Record], None]] = {
            RecordKind.SWITCH: self._switch,
            RecordKind.SWITCH_CPU_WIDE: self._switch,
            RecordKind.THROTTLE: self._throttle,
            RecordKind.UNTHROTTLE: self._throttle,
            RecordKind.AUXTRACE_ERROR: self._trace_error,
            RecordKind.LOST: self._lost,
            RecordKind.LOST_SAMPLES: self._lost_samples,
            **dict.fromkeys(_COUNTS, self._count),
        }

    @property
    def lost(self) -> int:
        """How many events are missing, at least."""
        return max(self._lost_told, self._lost_counted)

    def report(self) -> None:
        """Tell the user what is missing."""
        if self.lost:
            print(
                f"warning: {self.lost} events were lost when this was recorded: the kernel's "
                "buffers were full",
                file=sys.stderr,
            )

    def _switch(self, record: Record) -> None:
        body = self._body(record)
        if not isinstance(body, Switch) or self._script.handler("context_switch") is None:
            return
        origin = self._recording.sample_id(record)
        self._script.call(
            "context_switch",
            origin.time,
            _s32(origin.cpu),
            _s32(origin.pid),
            _s32(origin.tid),
            body.other_pid,
            body.other_tid,
            _HOST,
            body.out,
            body.out and body.preempt,
            0,
            _NO_VCPU,
        )

    def _throttle(self, record: Record) -> None:
        name = "throttle" if record.kind == RecordKind.THROTTLE else "unthrottle"
        body = self._body(record)
        if not isinstance(body, Throttle) or self._script.handler(name) is None:
            return
        origin = self._recording.sample_id(record)
        where = _s32(origin.cpu), _s32(origin.pid), _s32(origin.tid)
        self._script.call(name, body.time, body.id, body.stream_id, *where)

    def _trace_error(self, record: Record) -> None:
        body = self._body(record)
        if isinstance(body, TraceError):
            self._script.call(
                "auxtrace_error",
                body.type,
                body.code,
                body.cpu,
                body.pid,
                body.tid,
                body.ip,
                body.time,
                body.message,
                record.misc & 7,
                body.machine_pid,
                body.vcpu,
            )

    def _count(self, record: Record) -> None:
        body = self._body(record)
        if isinstance(body, CpuMap | ThreadMap | StatConfig | Stat | StatRound):
            self._statistics.take(body)

    def _lost(self, record: Record) -> None:
        body = self._body(record)
        if isinstance(body, Lost):
            self._lost_told += body.lost
            before, self._lost_at = self._lost_at, max(record.time, self._lost_at)
            self._script.call("__lost__", before, self._lost_at)

    def _lost_samples(self, record: Record) -> None:
        body = self._body(record)
        if isinstance(body, Lost):
            self._lost_counted += body.lost

    def _body(self, record: Record) -> object:
        return record_body(record, self._recording.big_endian, self._recording.path)


def _s32(number: int) -> int:
    return number - (1 << 32) if number >> 31 else number
