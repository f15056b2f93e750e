"""From messages to handlers: the path that every event takes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice, repeat
from operator import itemgetter, length_hint
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ptrace_client.errors import ClientError
from ptrace_client.event_decoder import EventDecoder
from ptrace_client.fusing import Fused, fuse
from ptrace_client.losses import Losses
from ptrace_client.order import Merger
from ptrace_client.script import Binding, Callback
from ptrace_client.script_errors import ScriptErrors
from ptrace_client.stacks import StackTable
from ptrace_proto import ptrace_pb2 as pb

if TYPE_CHECKING:
    from ptrace_client.batch import BatchDecoder

# Events between two looks at what signals ask for: 2 ns per event.
_CHUNK: Final = 256

_time = itemgetter(0)


class _Target(NamedTuple):
    """Where the events of a schema go: to the handler, or faster to what it was fused into."""

    decoder: EventDecoder
    handler: Callback
    fused: Fused | None


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
        self._merger = Merger() if order or len(single) > 1 else None
        self._known = {schema.id for schema in started.schemas}
        self._events: dict[int, _Target] = {}
        self._batches: dict[int, tuple[BatchDecoder, Callback]] = {}
        # Sentences for the user about the events of this stream.
        self.warnings: list[str] = []
        offset = started.realtime_offset
        for binding in single:
            columns = self._columns(binding)
            decoder = EventDecoder(binding.schema, offset, columns, self._stacks)
            self.warnings += decoder.warnings
            fused = self._fuse(binding, decoder, offset)
            self._events[binding.schema.id] = _Target(decoder, binding.handler, fused)
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
        return len(self._merger) if self._merger is not None else 0

    @property
    def late(self) -> int:
        """Events that came too late to be put in order, count."""
        return self._merger.late if self._merger is not None else 0

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
        if self._merger is not None and message.HasField("mark"):
            self._deliver_merged(message.mark.time)

    def finish(self) -> None:
        """Deliver what still waits for a round mark."""
        if self._merger is not None:
            self._deliver_merged(None)

    def _add_batch_handler(self, binding: Binding, realtime_offset: int) -> None:
        # NumPy takes longer to import than all the rest.
        from ptrace_client.batch import BatchDecoder

        decoder = BatchDecoder(binding.schema, realtime_offset, self._stacks)
        self._batches[binding.schema.id] = decoder, binding.handler

    def _fuse(self, binding: Binding, decoder: EventDecoder, offset: int) -> Fused | None:
        # All columns are for a handler that may do with an event what is not seen in its source.
        if self._merger is not None or binding.columns is None:
            return None
        return fuse(binding.handler, binding.schema, decoder.layout, offset)

    def _columns(self, binding: Binding) -> Collection[str] | None:
        if self._merger is None or binding.columns is None:
            return binding.columns
        return binding.columns | {"_time"}

    def _lost(self, loss: pb.Loss) -> None:
        if self._losses.add(loss) and self._lost_callback is not None and not self.done:
            times = (loss.start_time, loss.end_time) if self._ordered else (0, 0)
            self._errors.call(self._lost_callback, *times)

    def _batch(self, batch: pb.Batch) -> None:
        if batch.schema_id in self._events:
            target = self._events[batch.schema_id]
            rows = target.decoder.rows(batch)
            if self._merger is None:
                self._deliver(target, rows, batch)
                return
            kept = list(rows)
            events = target.decoder.events(batch.cpu, iter(kept))
            self._merger.add(zip(map(_time, kept), repeat(target.handler), events))
        elif batch.schema_id in self._batches:
            self._deliver_batch(batch)
        elif batch.schema_id not in self._known:
            raise ClientError(f"the server sent a batch of unknown schema {batch.schema_id}", 1)

    def _deliver(self, target: _Target, rows: Iterator[Any], batch: pb.Batch) -> None:
        """Handle the events that are in `rows`, those of `batch`, and go on after exceptions."""
        handler, fused, cpu = target.handler, target.fused, batch.cpu
        events = target.decoder.events(cpu, rows)
        end = batch.count - min(batch.count, self._left)
        while (left := length_hint(rows)) > end:
            size = min(_CHUNK, left - end)
            try:
                # Called from here both ways: a handler sees as much room on the stack.
                if fused is not None:
                    fused(islice(rows, size), cpu)
                else:
                    for event in islice(events, size):
                        handler(event)
            except Exception as error:
                self._errors.record(error)
            finally:
                self._count(left - length_hint(rows))
            self._between()

    def _deliver_merged(self, until: int | None) -> None:
        assert self._merger is not None
        entries = self._merger.take(until)
        end = len(entries) - min(len(entries), self._left)
        rest = iter(entries)
        while (left := length_hint(rest)) > end:
            try:
                for _, handler, event in islice(rest, min(_CHUNK, left - end)):
                    handler(event)
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
