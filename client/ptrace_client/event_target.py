"""PerfEvents on their way to a handler."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

from ptrace_client.decode import RowData
from ptrace_client.event import PerfEvent
from ptrace_client.event_decoder import EventDecoder
from ptrace_client.fusing import fuse
from ptrace_client.stacks import StackTable
from ptrace_client.targets import Callback, Fused, Rows
from ptrace_proto import ptrace_pb2 as pb


class EventTarget:
    """A targets.Target that calls `handler` with a PerfEvent, or does without one.

    Columns outside `columns` are not decoded; None means all of them.
    """

    def __init__(
        self,
        schema: pb.EventSchema,
        handler: Callback,
        columns: frozenset[str] | None,
        realtime_offset: int,
        stacks: StackTable,
        *,
        timed: bool,
    ) -> None:
        self._handler = handler
        wanted: Collection[str] | None = columns
        if timed and columns is not None:
            wanted = columns | {"_time"}
        self._decoder = EventDecoder(schema, realtime_offset, wanted, stacks)
        self.rows: Callable[[pb.Batch | RowData], Rows] = self._decoder.rows
        self.items: Callable[[int, Rows], Iterator[PerfEvent]] = self._decoder.events
        self.fused: Fused | None = None
        # All columns are for a handler that may do with an event what is not seen in its source.
        if not timed and columns is not None:
            self.fused = fuse(handler, schema, self._decoder.layout, realtime_offset)

    @property
    def warnings(self) -> list[str]:
        """Sentences for the user about fields that cannot be reached as attributes."""
        return self._decoder.warnings

    def mixed(self, cpu: int, rows: Rows) -> Rows:
        """Return the rows: PerfEvents are put in order as events."""
        return rows

    def call(self, cpu: int) -> Callable[[PerfEvent], Any]:
        """Return the handler: an event knows its CPU."""
        return self._handler
