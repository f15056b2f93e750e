"""From a stream to a recording: its events, tasks and losses as records of perf.data."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final

from ptrace_client import __version__
from ptrace_client.decode import event_name
from ptrace_client.perf_data.attr import SampleType
from ptrace_client.perf_data.features import Feature
from ptrace_client.perf_writing import encode_features as features
from ptrace_client.perf_writing.chains import Chains
from ptrace_client.perf_writing.encode_attr import WrittenEvent, encode_attr, tracepoint_attr
from ptrace_client.perf_writing.encode_records import Origin, RecordEncoder
from ptrace_client.perf_writing.encode_tracing import encode_tracing
from ptrace_client.perf_writing.launch import Launch
from ptrace_client.perf_writing.local_files import LocalFiles
from ptrace_client.perf_writing.output import Head, Output
from ptrace_client.perf_writing.probe_format import probe_format
from ptrace_client.perf_writing.row_samples import Entry, SampledSamples, TracepointSamples
from ptrace_client.perf_writing.writer import Writer
from ptrace_formats.event_format import EventFormat, parse_format
from ptrace_proto import ptrace_pb2 as pb

# Types that the records of probes get: above all ids of tracefs that a kernel gives so soon.
_PROBES_FROM: Final = 60000
# Columns of sampled events: what a sample of the file has.
SAMPLED_COLUMNS: Final = ("_pid", "_tid", "_comm", "ip", "addr", "period", "callchain")
# What is not lost from the stream, but was never in it.
_NOT_LOST: Final = pb.LOSS_STAGE_SKIPPED
_KERNEL_DSO: Final = b"[kernel.kallsyms]"


class Recorder:
    """Writes what a stream carries to `output`.

    `info` is of the stream's host; `local` says that its files are this host's. What the process
    `command` does before it starts a program is left out.
    """

    def __init__(
        self,
        started: pb.Started,
        info: pb.ServerInfo,
        output: Output,
        *,
        local: bool = False,
        command: int | None = None,
        command_line: Sequence[str] = (),
    ) -> None:
        # Samples, and records of tasks, that are missing.
        self.lost = self.lost_tasks = 0
        self._output = output
        self._chains = Chains()
        self._encoder = RecordEncoder(1)
        self._writer = Writer(output, self._encoder)
        self._files = LocalFiles() if local else None
        self._launch = Launch(command) if command is not None else None
        self._ids = {schema.id: id for id, schema in enumerate(started.schemas, 1)}
        self._formats = dict(_formats(started.schemas))
        self._makers = {schema.id: self._maker(schema) for schema in started.schemas}
        host = started.recorded_host
        output.begin(self._head(started, info, command_line or sys.argv))
        if host.kernel_build_id:
            output.note_build_id(_KERNEL_DSO, host.kernel_build_id)
        if host.kernel_start < host.kernel_end:
            output.write(self._encoder.kernel_mmap(host.kernel_start, host.kernel_end))

    @property
    def samples(self) -> int:
        """Samples written so far."""
        return self._writer.samples

    def take(self, message: pb.TraceResponse) -> None:
        """Take the next message of the stream. Raise ClientError where it is damaged."""
        self._writer.add(filter(None, map(self._task, message.tasks)))
        self._writer.add(self._losses(message.losses))
        self._chains.add(message.stacks)
        for batch in message.batches:
            entries = self._makers[batch.schema_id].entries(batch)
            if self._launch is not None:
                entries = self._launch.sift(entries)
            self._writer.add(entries)
        if message.HasField("mark"):
            self._end_round(message.mark.time)
        self._chains.forget(message.forget_stacks_below)

    def close(self) -> None:
        """Write what is held, and the end of the recording."""
        if self._launch is not None:
            self._writer.add(self._launch.take_held())
        self._writer.close()
        self._output.close()

    def _end_round(self, time: int) -> None:
        if self._launch is not None:
            if self._launch.has_started:
                self._writer.add(self._launch.take_held())
            if self._launch.is_over(time):
                self._launch = None
        self._writer.end_round(time)

    def _maker(self, schema: pb.EventSchema) -> TracepointSamples | SampledSamples:
        id = self._ids[schema.id]
        if schema.source == pb.EVENT_SOURCE_SAMPLE:
            return SampledSamples(schema, id, self._chains)
        return TracepointSamples(schema, self._formats[schema.id][0], id, self._chains)

    def _head(self, started: pb.Started, info: pb.ServerInfo, command_line: Sequence[str]) -> Head:
        host = started.recorded_host
        events = [self._event(schema) for schema in started.schemas]
        formats = {format.id: (format.system, text) for format, text in self._formats.values()}
        tracing = b""
        if formats:
            tracing = encode_tracing(
                host.page_size,
                host.header_page,
                host.header_event,
                formats.values(),
                host.printk_formats,
            )
        moment = started.start_time
        return Head(
            events,
            tracing,
            {
                Feature.HOSTNAME: features.string(info.hostname),
                Feature.OSRELEASE: features.string(info.kernel_release),
                Feature.VERSION: features.string(f"ptrace-client {__version__}"),
                Feature.ARCH: features.string(info.machine),
                Feature.NRCPUS: features.cpu_counts(host.cpus_available, host.cpus_online),
                Feature.CPUDESC: features.string(host.cpu_description),
                Feature.TOTAL_MEM: features.total_memory(host.total_memory),
                Feature.CMDLINE: features.strings(list(command_line)),
                Feature.EVENT_DESC: features.event_descriptions(events),
                Feature.CLOCKID: features.clock_resolution(_resolution()),
                Feature.CLOCK_DATA: features.clock_data(moment + started.realtime_offset, moment),
            },
        )

    def _event(self, schema: pb.EventSchema) -> WrittenEvent:
        id = self._ids[schema.id]
        chain = SampleType.CALLCHAIN if schema.stack else 0
        if schema.source != pb.EVENT_SOURCE_SAMPLE:
            format = self._formats[schema.id][0]
            attr = tracepoint_attr(format.id, chain, tells_tasks=id == 1)
            return WrittenEvent(format.title, attr, (id,))
        info = schema.sample
        attr = encode_attr(
            info.type,
            info.config,
            SampleType.ADDR | chain,
            period=info.period,
            frequency=info.frequency,
            flags=info.flags,
            bp_type=info.bp_type,
            config1=info.config1,
            config2=info.config2,
            tells_tasks=id == 1,
        )
        return WrittenEvent(event_name(schema), attr, (id,))

    def _losses(self, losses: Sequence[pb.Loss]) -> Iterator[Entry]:
        for loss in losses:
            if loss.stage == _NOT_LOST:
                continue
            self.lost += loss.count
            origin = Origin(0, 0, loss.end_time, max(loss.cpu, 0))
            record = self._encoder.lost(origin, self._ids[loss.schema_id], loss.count)
            yield loss.end_time, 0, 0, None, record

    def _task(self, task: pb.TaskRecord) -> Entry | None:
        """The record of a task's news; what could not be told earlier is told late."""
        origin = Origin(task.pid, task.tid, max(task.time, self._writer.written_until))
        match task.WhichOneof("what"):
            case "name":
                name = task.name
                if self._launch is not None and name.is_exec:
                    self._launch.started(task.pid, task.time)
                record = self._encoder.comm(origin, name.name, is_exec=name.is_exec)
            case "start":
                start = task.start
                record = self._encoder.fork(origin, start.parent_pid, start.parent_tid)
            case "end":
                end = task.end
                record = self._encoder.exit(origin, end.parent_pid, end.parent_tid)
            case "mapping":
                record = self._mapping(origin, task.mapping)
            case "lost":
                self.lost_tasks += task.lost
                return None
            case _:
                return None
        return origin.time, task.pid, task.tid, None, record

    def _mapping(self, origin: Origin, mapping: pb.TaskMapping) -> bytes:
        if self._files is not None:
            device = os.makedev(mapping.major, mapping.minor)
            build_id = self._files.build_id(mapping.path, device, mapping.inode)
            if build_id:
                self._output.note_build_id(mapping.path, build_id)
        return self._encoder.mmap2(
            origin,
            (mapping.start, mapping.length, mapping.offset),
            mapping.path,
            (mapping.major, mapping.minor, mapping.inode),
        )


def sampled_projections(schemas: Sequence[pb.EventSchema]) -> list[pb.Projection]:
    """Return what to ask for of sampled events; of all others a recording has all fields."""
    return [
        pb.Projection(event=event_name(schema), fields=SAMPLED_COLUMNS)
        for schema in schemas
        if schema.source == pb.EVENT_SOURCE_SAMPLE
    ]


def _formats(schemas: Sequence[pb.EventSchema]) -> Iterator[tuple[int, tuple[EventFormat, str]]]:
    """Yield the format of each schema but of sampled ones, and its text."""
    for number, schema in enumerate(schemas):
        if schema.source == pb.EVENT_SOURCE_SAMPLE:
            continue
        text = schema.format_text or probe_format(schema, _PROBES_FROM + number)
        yield schema.id, (parse_format(schema.system, text), text)


def _resolution() -> int:
    """Resolution of CLOCK_MONOTONIC, ns."""
    return max(int(time.clock_getres(time.CLOCK_MONOTONIC) * 1e9), 1)
