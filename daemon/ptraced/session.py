"""A session: what one client's stream is to carry, bounded, and counted to the event.

The reader offers; the thread of the Trace call takes. When the queue is full the
newest batches are dropped and counted, so a slow client loses its own events and
holds up nobody.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain

from ptrace_proto import ptrace_pb2 as pb
from ptraced import wire
from ptraced.batch_queue import BatchQueue, QueuedBatch
from ptraced.identity import Caller
from ptraced.quotas.queue_room import Share
from ptraced.rows import Rows
from ptraced.samples import SampleDecoder
from ptraced.sent_stacks import SentStacks
from ptraced.stacks import StackTable
from ptraced.task_news import TaskNews
from ptraced.task_records import TaskRecord

# A message takes no further batch once it has this many bytes. Batches are
# smaller than that (rows.py), so messages stay below twice it.
MESSAGE_BYTES = 1 << 20
# Of samples: a user's sessions take turns at making them.
_SAMPLES_BYTES = 1 << 18


# It goes on when nothing was held back for so long, ns.
_THROTTLE_OVER = 1_000_000_000
# Starts and stops that wait for a client who does not read; those beyond become one long throttle.
_THROTTLES_MAX = 64


@dataclass(frozen=True, slots=True)
class Usage:
    """What a session has carried: events and bytes put into its stream, and losses by stage.

    `run_time` is what BPF programs took for it, ns. `end` is how it ended, "client gone" where
    nobody ended it.
    """

    events: int
    bytes: int
    lost: Counter[pb.LossStage]
    queued_bytes: int
    run_time: int
    seconds: float
    end: str
    end_text: str


@dataclass(slots=True)
class _Range:
    """Lost events that were not reported yet."""

    count: int
    start: int
    end: int


class Session:
    """The queue between the reader and one Trace call. All methods may be called by any thread."""

    def __init__(
        self,
        session_id: str,
        request: pb.TraceRequest,
        schemas: Sequence[pb.EventSchema],
        queue_bytes: int,
        caller: Caller,
        stacks: StackTable,
        share: Share,
        addresses: bool = True,
        tasks: TaskNews | None = None,
    ) -> None:
        self.id = session_id
        self.request = request
        self.schemas = schemas
        self.caller = caller
        self.start_realtime = time.time_ns()
        # CLOCK_MONOTONIC, ns.
        self.start = time.monotonic_ns()
        # What BPF programs took for it on all CPUs, ns; the reader adds to it.
        self.run_time = 0
        # Breaks the call off, whether its client reads or not; there while there is a call.
        self.cut: Callable[[], object] | None = None
        # Called with every Throttle, under the lock.
        self.on_throttle: Callable[[Session, pb.Throttle], None] = lambda *_: None
        # What is held while samples are made, which takes long and the interpreter.
        self.decoding: Callable[[], AbstractContextManager[None]] = nullcontext
        self._decoder = SampleDecoder(schemas) if request.self_describing else None
        self._stacks = SentStacks(stacks, addresses)
        # What it tells of tasks, where it was asked to.
        self.tasks = tasks
        self._changed = threading.Condition()
        self._data = BatchQueue(queue_bytes, share)
        # The latest mark, the one that is to be sent, and the last one that was.
        self._latest_mark = self._mark = self._marked = 0
        self._losses: dict[tuple[int, int, pb.LossStage], _Range] = {}
        self._warnings: list[str] = []
        self._throttles: list[pb.Throttle] = []
        # When something was last held back, 0 while nothing is.
        self._throttled_at = 0
        self._end: pb.End | None = None
        self._cancelled = False
        self._delivered = dict.fromkeys((schema.id for schema in schemas), 0)
        self._lost = dict.fromkeys(self._delivered, 0)
        self._lost_by_stage: Counter[pb.LossStage] = Counter()
        self._row_bytes = 0

    def offer(self, schema_id: int, cpu: int, rows: Rows) -> None:
        """Queue rows, or drop and count them where the queue is full."""
        with self._changed:
            if self._end is not None or self._cancelled:
                return
            if self._data.put(QueuedBatch(schema_id, cpu, rows, self._latest_mark)):
                self._delivered[schema_id] += rows.count
                self._row_bytes += len(rows.data)
            else:
                between = rows.first_time, rows.last_time
                self._lose(schema_id, cpu, rows.count, pb.LOSS_STAGE_QUEUE, between)

    def lose(
        self,
        schema_id: int,
        cpu: int,
        count: int,
        stage: pb.LossStage,
        between: tuple[int, int],
    ) -> None:
        """Count events that were lost before they got here, within a time range in ns."""
        with self._changed:
            self._lose(schema_id, cpu, count, stage, between)

    def _lose(
        self,
        schema_id: int,
        cpu: int,
        count: int,
        stage: pb.LossStage,
        between: tuple[int, int],
    ) -> None:
        start, end = between
        known = self._losses.setdefault((schema_id, cpu, stage), _Range(0, start, end))
        known.count += count
        known.start = min(known.start, start)
        known.end = max(known.end, end)
        self._lost_by_stage[stage] += count
        if stage != pb.LOSS_STAGE_SKIPPED:
            self._lost[schema_id] += count

    def mark(self, time_: int) -> None:
        """End a round: every event older than `time_` was offered. Wakes the taker."""
        with self._changed:
            self._latest_mark = time_
            if self._throttled_at and time_ - self._throttled_at > _THROTTLE_OVER:
                self._tell_throttle(pb.Throttle(time=self._throttled_at))
                self._throttled_at = 0
                self._changed.notify()
            due = time_ - self._marked >= self.request.mark_interval > 0
            if self._data or self._losses or self.tasks or due:
                self._mark = time_
                self._changed.notify()

    def warn(self, text: str) -> None:
        with self._changed:
            self._warnings.append(text)
            self._changed.notify()

    def throttle(self, time_: int, reason: str) -> None:
        """Tell, once, that the kernel part only counts from about `time_` (ns) on."""
        with self._changed:
            if not self._throttled_at:
                self._tell_throttle(pb.Throttle(started=True, time=time_, reason=reason))
                self._changed.notify()
            self._throttled_at = time_

    def _tell_throttle(self, throttle: pb.Throttle) -> None:
        if throttle.started and len(self._throttles) >= _THROTTLES_MAX:
            # Without the last stop.
            self._throttles.pop()
        else:
            self._throttles.append(throttle)
        self.on_throttle(self, throttle)

    def finish(self, reason: pb.EndReason, text: str = "") -> None:
        """End the stream behind all that is queued; the first reason stands."""
        with self._changed:
            if self._end is None:
                self._end = pb.End(reason=reason, text=text, totals=self._totals())
                self._changed.notify()

    def end_at_once(self, reason: pb.EndReason, text: str) -> None:
        """End the stream in front of all that is queued, which counts as lost.

        Does so, too, where the stream was ending behind it.
        """
        with self._changed:
            for batch in self._data.waiting:
                count = batch.rows.count
                self._delivered[batch.schema_id] -= count
                self._row_bytes -= len(batch.rows.data)
                between = batch.rows.first_time, batch.rows.last_time
                self._lose(batch.schema_id, batch.cpu, count, pb.LOSS_STAGE_QUEUE, between)
            self._data.clear()
            self._end = pb.End(reason=reason, text=text, totals=self._totals())
            self._changed.notify()

    @property
    def ended(self) -> bool:
        """True once the end of the stream is decided, delivered or not."""
        return self._end is not None

    def cancel(self) -> None:
        """The client is gone: forget what is queued."""
        with self._changed:
            self._cancelled = True
            self._data.clear()
            if self.tasks is not None:
                self.tasks.close()
            self._changed.notify()

    def messages(self) -> Iterator[bytes]:
        """Serialized TraceResponses after the first, until the end or the cancellation."""
        if self.tasks is not None:
            for message in _joined(self.tasks.snapshot()):
                if self._cancelled:
                    return
                yield message
        while True:
            with self._changed:
                self._changed.wait_for(self._has_something)
                if self._cancelled:
                    return
                control = self._take_control().SerializeToString()
                batches = self._data.take(MESSAGE_BYTES)
                closing = self._take_closing()
                records = self.tasks.take() if self.tasks is not None else []
            # Fragments that are joined are one message: see wire.py.
            *before, ahead = _joined(
                chain(
                    (control,),
                    self._stack_fragments(batches),
                    self._task_fragments(records, batches),
                )
            )
            yield from before
            if self._decoder is None:
                yield b"".join((ahead, *_fragments(batches), closing.SerializeToString()))
            else:
                parts = chain((ahead,), self._samples(batches), (closing.SerializeToString(),))
                yield from filter(None, parts)
            if closing.HasField("end"):
                return

    def _has_something(self) -> bool:
        if self._losses or self._warnings or self._throttles or self._cancelled:
            return True
        # What ends a round, or the stream, stands behind the data.
        if self._data:
            return self._data.first.is_complete
        return bool(self._mark or self._end is not None)

    def _take_control(self) -> pb.TraceResponse:
        control = pb.TraceResponse(
            warnings=[pb.Warning(text=text) for text in self._warnings],
            losses=[
                pb.Loss(
                    schema_id=schema_id,
                    cpu=cpu,
                    count=lost.count,
                    stage=stage,
                    start_time=lost.start,
                    end_time=lost.end,
                )
                for (schema_id, cpu, stage), lost in self._losses.items()
            ],
        )
        control.throttles.extend(self._throttles)
        self._throttles.clear()
        self._warnings.clear()
        self._losses.clear()
        return control

    def _take_closing(self) -> pb.TraceResponse:
        """What stands behind the batches: mark, what to forget, and the end behind the last."""
        closing = pb.TraceResponse(forget_stacks_below=self._stacks.forgotten(self._data.stacks))
        mark = self._data.first.mark if self._data else self._mark
        if mark > self._marked:
            closing.mark.time = self._marked = mark
        if not self._data:
            self._mark = 0
            if self._end is not None:
                closing.end.CopyFrom(self._end)
        return closing

    def stacks_resolved(self) -> None:
        """Look again at rows that wait for the frames of their stacks."""
        with self._changed:
            if self._data:
                self._changed.notify()

    def _stack_fragments(self, batches: list[QueuedBatch]) -> Iterator[bytes]:
        """What has to stand before these batches: the stacks that were not sent yet."""
        for batch in batches:
            for stack in self._stacks.new(batch.rows.stacks):
                data = self._stacks.data(stack)
                note = self._stacks.silent_python(stack) if self.request.stacks.python else None
                if note is not None:
                    self.warn(note)
                yield wire.stack_header(len(data)) + data

    def _task_fragments(
        self, records: list[TaskRecord], batches: list[QueuedBatch]
    ) -> Iterator[bytes]:
        if self.tasks is not None:
            yield from self.tasks.fragments(records, batches)

    def _samples(self, batches: list[QueuedBatch]) -> Iterator[bytes]:
        """Messages of self-describing samples, which take many times the room of rows."""
        assert self._decoder is not None
        samples = chain.from_iterable(
            self._decoder.decode(batch.schema_id, batch.cpu, batch.rows.data) for batch in batches
        )
        while message := self._message_of_samples(samples):
            yield message

    def _message_of_samples(self, samples: Iterator[pb.Sample]) -> bytes:
        """The next message; empty behind the last."""
        message, size = pb.TraceResponse(), 0
        with self.decoding():
            for sample in samples:
                message.samples.append(sample)
                size += sample.ByteSize()
                if size >= _SAMPLES_BYTES:
                    break
            return message.SerializeToString()

    def info(self) -> pb.SessionInfo:
        """The session as ListSessions shows it, but for its caller."""
        with self._changed:
            return pb.SessionInfo(
                session_id=self.id,
                label=self.request.label,
                selectors=self.request.selectors,
                start_realtime=self.start_realtime,
                totals=self._totals(),
                queued_bytes=self._data.bytes,
            )

    def usage(self) -> Usage:
        """What the session has carried so far."""
        with self._changed:
            end = self._end
            return Usage(
                events=sum(self._delivered.values()),
                bytes=self._row_bytes,
                lost=Counter(self._lost_by_stage),
                queued_bytes=self._data.bytes,
                run_time=self.run_time,
                seconds=(time.monotonic_ns() - self.start) / 1e9,
                end="client gone" if end is None else _reason_name(end.reason),
                end_text="" if end is None else end.text,
            )

    def _totals(self) -> list[pb.EventTotals]:
        return [
            pb.EventTotals(schema_id=schema_id, delivered=count, lost=self._lost[schema_id])
            for schema_id, count in self._delivered.items()
        ]


def stage_name(stage: pb.LossStage) -> str:
    """LOSS_STAGE_KERNEL_BUFFER: "kernel_buffer"."""
    return pb.LossStage.Name(stage).removeprefix("LOSS_STAGE_").lower()


def _reason_name(reason: pb.EndReason) -> str:
    """END_REASON_TARGETS_GONE: "targets gone"."""
    return pb.EndReason.Name(reason).removeprefix("END_REASON_").lower().replace("_", " ")


def _joined(fragments: Iterable[bytes]) -> Iterator[bytes]:
    """Messages of fragments, none of which is divided; at least one message."""
    message: list[bytes] = []
    size = 0
    for fragment in fragments:
        if size >= MESSAGE_BYTES:
            yield b"".join(message)
            message, size = [], 0
        message.append(fragment)
        size += len(fragment)
    yield b"".join(message)


def _fragments(batches: list[QueuedBatch]) -> Iterator[bytes]:
    for batch in batches:
        data = batch.rows.data
        yield wire.batch_header(batch.schema_id, batch.cpu, batch.rows.count, len(data))
        yield data
