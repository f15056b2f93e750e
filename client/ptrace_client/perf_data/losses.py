"""Samples that a recording lacks, as it tells itself."""

from __future__ import annotations

from collections.abc import Collection

from ptrace_client.perf_data.model import Record, Recording
from ptrace_client.perf_data.record_bodies import Lost
from ptrace_client.perf_data.record_parsers import record_body
from ptrace_proto import ptrace_pb2 as pb


def recorded_loss(
    recording: Recording, record: Record, events: Collection[int], since: int
) -> pb.Loss | None:
    """Return what a LOST or LOST_SAMPLES record says, of an event whose index is in `events`.

    None for other events. They happened between `since` and the record, ns.
    """
    lost = record_body(record, recording.big_endian, recording.path)
    if not isinstance(lost, Lost) or not lost.lost:
        return None
    told = recording.sample_id(record)
    event = recording.event_of(lost.id or told.id)
    if event is None and len(recording.events) == 1:
        [event] = recording.events
    if event is None or event.index not in events:
        return None
    end = record.time if record.time > 0 else since
    return pb.Loss(
        schema_id=event.index,
        cpu=told.cpu if told.cpu < 1 << 31 else -1,
        count=lost.lost,
        stage=pb.LOSS_STAGE_KERNEL_BUFFER,
        start_time=min(since, end),
        end_time=end,
    )
