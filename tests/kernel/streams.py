"""Reading a stream to its end, and adding up what it carried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from ptrace_client.event_decoder import EventDecoder
from ptrace_client.host import Host
from ptrace_client.runner import EventStream
from ptrace_proto import ptrace_pb2 as pb

GETPPID = "syscalls:sys_enter_getppid"
COUNTED = {pb.LOSS_STAGE_KERNEL_BUFFER, pb.LOSS_STAGE_QUEUE, pb.LOSS_STAGE_THROTTLED}


@dataclass
class Total:
    """What a stream carried, by schema id."""

    delivered: Counter[int] = field(default_factory=Counter)
    lost: Counter[int] = field(default_factory=Counter)
    by_cpu: Counter[tuple[int, int]] = field(default_factory=Counter)
    losses: list[pb.Loss] = field(default_factory=list)
    throttles: list[pb.Throttle] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    schemas: list[pb.EventSchema] = field(default_factory=list)
    stacks: list[pb.Stack] = field(default_factory=list)
    batches: list[pb.Batch] = field(default_factory=list)
    samples: list[pb.Sample] = field(default_factory=list)
    end: pb.End = field(default_factory=pb.End)

    @property
    def produced(self) -> int:
        return self.delivered.total() + self.lost.total()

    def lost_at(self, stage: pb.LossStage) -> int:
        """Events that were lost at a stage."""
        return sum(loss.count for loss in self.losses if loss.stage == stage)

    def add(self, message: pb.TraceResponse) -> None:
        for loss in message.losses:
            self.losses.append(loss)
            if loss.stage in COUNTED:
                self.lost[loss.schema_id] += loss.count
        for batch in message.batches:
            self.batches.append(batch)
            self.delivered[batch.schema_id] += batch.count
            self.by_cpu[batch.schema_id, batch.cpu] += batch.count
        self.throttles += message.throttles
        self.stacks += message.stacks
        self.samples += message.samples
        self.warnings += [warning.text for warning in message.warnings]
        if message.HasField("mark"):
            self.marks.append(message.mark.time)
        if message.HasField("end"):
            self.end = message.end


def read_to_end(stream: EventStream, total: Total | None = None) -> Total:
    """All that a stream carries from now on."""
    total = total or Total()
    while True:
        try:
            message = stream.next(timeout=None)
        except EOFError:
            return total
        if message is not None:
            total.add(message)


def trace_while(host: Host, request: pb.TraceRequest, work: Callable[[], object]) -> Total:
    """Open a session, do the work, stop, and read all of it."""
    with host.open(request) as stream:
        work()
        stream.stop()
        return read_to_end(stream, Total(schemas=list(stream.started.schemas)))


def events(stream: EventStream, total: Total) -> list[dict[str, object]]:
    """The events of a stream as dicts, by time."""
    decoders = {
        schema.id: EventDecoder(schema, stream.started.realtime_offset)
        for schema in stream.started.schemas
    }
    found = [
        event.to_dict()
        for batch in total.batches
        for event in decoders[batch.schema_id].decode(batch)
    ]
    return sorted(found, key=lambda event: event["_time"])  # type: ignore[arg-type, return-value]
