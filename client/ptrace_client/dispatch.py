"""From messages to handlers: the path that every event takes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import islice, repeat
from operator import itemgetter, length_hint
from typing import TYPE_CHECKING, Any, Final

from ptrace_client.errors import ClientError
from ptrace_client.losses import Losses
from ptrace_client.order import BatchMerger, Merger
from ptrace_client.script_errors import ScriptErrors
from ptrace_client.stacks import StackTable
from ptrace_client.targets import Binding, Callback, Ordering, Rows, Target
from ptrace_proto import ptrace_pb2 as pb

if TYPE_CHECKING:
    from ptrace_client.batch import BatchDecoder

# Events between two looks at what signals ask for: 2 ns per event.
_CHUNK: Final = 256

_time = itemgetter(0)


class Dispatcher:
    """Calls the handlers of `bindings` for the events of one stream.

    With several events, or with `order`, events wait for a round mark and are merged by time.
    After `limit` events `done` is set, and no handler is called any more. `between` is called
    every few hundred events. `stacks` takes what the stream has of those.
    """

    def __init__(
        self,
        bindings: Sequence[Binding],
        started: pb.Started,
        errors: ScriptErrors,
        losses: Losses,
        *,
        order: bool = False,
        limit: int | None = None,
        lost: Callback | None = None,
        between: Callable[[], None] = lambda: None,
        stacks: StackTable | None = None,
    ) -> None:
        # Events that handlers were called for, count.
        self.delivered = 0
        self._left = sys.maxsize if limit is None else limit
        self._errors = errors
        self._losses = losses
        self._lost_callback = lost
        self._ordered = order
        self._stacks = StackTable() if stacks is None else stacks
        self._between = between
        single = [binding for binding in bindings if not binding.is_batch]
        ordering = _ordering(single, order)
        self._merger = Merger() if ordering is Ordering.EVENTS else None
        self._batch_merger: BatchMerger | None = None
        self._known = {schema.id for schema in started.schemas}
        self._events: dict[int, Target] = {}
        self._batches: dict[int, tuple[BatchDecoder, Callback]] = {}
        # Sentences for the user about the events of this stream.
        self.warnings: list[str] = []
        offset = started.realtime_offset
        timed = ordering is not Ordering.NONE
        for binding in single:
            target = binding.target(offset, self._stacks, timed=timed)
            self.warnings += target.warnings
            self._events[binding.schema.id] = target
            if ordering is Ordering.ROWS:
                self._batch_merger = BatchMerger(binding.schema, target.rows, target.mixed)
        for binding in bindings:
            if binding.is_batch:
                self._add_batch_handler(binding, offset)

    @property
    def done(self) -> bool:
        """True after as many events as were to be delivered."""
        return self._left <= 0

    @property
    def waiting(self) -> int:
        """Events that wait for a round mark, count."""
        return sum(map(len, self._mergers))

    @property
    def late(self) -> int:
        """Events that came too late to be put in order, count."""
        return sum(merger.late for merger in self._mergers)

    def message(self, message: pb.TraceResponse) -> None:
        """Deliver what a message carries. Raise ClientError where it is damaged."""
        for loss in message.losses:
            self._lost(loss)
        self._stacks.add(message.stacks)
        for batch in message.batches:
            if self.done:
                return
            self._batch(batch)
        self._stacks.forget(message.forget_stacks_below)
        if message.HasField("mark"):
            self._deliver_until(message.mark.time)

    def finish(self) -> None:
        """Deliver what still waits for a round mark."""
        self._deliver_until(None)

    @property
    def _mergers(self) -> list[Merger | BatchMerger]:
        return [it for it in (self._merger, self._batch_merger) if it is not None]

    def _deliver_until(self, mark: int | None) -> None:
        """Deliver what waits and is older than `mark`; everything for None."""
        if self._merger is not None:
            self._deliver_merged(self._merger, mark)
        if self._batch_merger is not None:
            (target,) = self._events.values()
            for cpu, rows in self._batch_merger.take(mark):
                self._deliver(target, rows, cpu)

    def _add_batch_handler(self, binding: Binding, realtime_offset: int) -> None:
        # NumPy takes longer to import than all the rest.
        from ptrace_client.batch import BatchDecoder

        decoder = BatchDecoder(binding.schema, realtime_offset, self._stacks)
        self._batches[binding.schema.id] = decoder, binding.handler

    def _lost(self, loss: pb.Loss) -> None:
        if self._losses.add(loss) and self._lost_callback is not None and not self.done:
            times = (loss.start_time, loss.end_time) if self._ordered else (0, 0)
            self._errors.call(self._lost_callback, *times)

    def _batch(self, batch: pb.Batch) -> None:
        if batch.schema_id in self._events:
            target = self._events[batch.schema_id]
            if self._batch_merger is not None:
                self._batch_merger.add(batch)
                return
            rows = target.rows(batch)
            if self._merger is None:
                self._deliver(target, rows, batch.cpu)
                return
            kept = list(rows)
            items = target.items(batch.cpu, iter(kept))
            self._merger.add(zip(map(_time, kept), repeat(target.call(batch.cpu)), items))
        elif batch.schema_id in self._batches:
            self._deliver_batch(batch)
        elif batch.schema_id not in self._known:
            raise ClientError(f"the server sent a batch of unknown schema {batch.schema_id}", 1)

    def _deliver(self, target: Target, rows: Rows, cpu: int) -> None:
        """Handle the events that are in `rows`, and go on after exceptions."""
        fused, count = target.fused, length_hint(rows)
        call = target.call(cpu) if fused is None else _nothing
        items = target.items(cpu, rows)
        end = count - min(count, self._left)
        while (left := length_hint(rows)) > end:
            size = min(_CHUNK, left - end)
            try:
                # Called from here both ways: a handler sees as much room on the stack.
                if fused is not None:
                    fused(islice(rows, size), cpu)
                else:
                    for item in islice(items, size):
                        call(item)
            except Exception as error:
                self._errors.record(error)
            finally:
                self._count(left - length_hint(rows))
            self._between()

    def _deliver_merged(self, merger: Merger, until: int | None) -> None:
        entries = merger.take(until)
        end = len(entries) - min(len(entries), self._left)
        rest = iter(entries)
        while (left := length_hint(rest)) > end:
            try:
                for _, call, item in islice(rest, min(_CHUNK, left - end)):
                    call(item)
            except Exception as error:
                self._errors.record(error)
            finally:
                self._count(left - length_hint(rest))
            self._between()

    def _deliver_batch(self, batch: pb.Batch) -> None:
        decoder, handler = self._batches[batch.schema_id]
        gap = self._losses.take_gap(batch.schema_id, batch.cpu)
        array = decoder.decode(batch, gap, min(self._left, batch.count))
        try:
            self._errors.call(handler, array)
        finally:
            self._count(len(array))
        self._between()

    def _count(self, events: int) -> None:
        self.delivered += events
        self._left -= events


def _nothing(item: Any) -> None:
    """Stand for what is not called."""


def _ordering(bindings: Sequence[Binding], order: bool) -> Ordering:
    """Return how the events are to be put in order."""
    if len(bindings) > 1:
        return Ordering.EVENTS
    return bindings[0].ordering if bindings and order else Ordering.NONE
