"""Batches of one event as PerfEvents."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import repeat
from typing import Any

from ptrace_client.decode import RowData, RowLayout
from ptrace_client.event import PerfEvent
from ptrace_client.event_class import cpu_class, event_class
from ptrace_client.stacks import StackTable
from ptrace_proto import ptrace_pb2 as pb


class EventDecoder:
    """Makes the events of one schema out of its batches.

    `realtime_offset` is that of pb.Started, ns. Columns outside `wanted` are not decoded.
    `stacks` has the stacks that its rows refer to.
    """

    def __init__(
        self,
        schema: pb.EventSchema,
        realtime_offset: int,
        wanted: Collection[str] | None = None,
        stacks: StackTable | None = None,
    ) -> None:
        self.layout = RowLayout(schema, wanted)
        self._stacks = StackTable() if stacks is None else stacks
        self._class = event_class(schema, self.layout, realtime_offset)
        self._cpu_classes: dict[int, type[PerfEvent]] = {}

    @property
    def warnings(self) -> list[str]:
        """Sentences for the user about fields that cannot be reached as attributes."""
        return self._class.__ptrace__.warnings

    def decode(self, batch: pb.Batch) -> Iterator[PerfEvent]:
        """Iterate over the events of a batch. Raise ClientError where it is damaged."""
        return self.events(batch.cpu, self.rows(batch))

    def rows(self, batch: pb.Batch | RowData) -> Iterator[tuple[Any, ...]]:
        """Iterate over a batch's rows; operator.length_hint() tells how many are left.

        Chains are looked up now: the rows do not mind if the table forgets them later.
        """
        rows, place = self.layout.rows(batch), self.layout.stack_index
        return rows if place is None else self._stacks.resolved(rows, place)

    def events(self, cpu: int, rows: Iterator[tuple[Any, ...]]) -> Iterator[PerfEvent]:
        """Make an event of each row as it is asked for, never ahead."""
        kind = self._cpu_classes.get(cpu)
        if kind is None:
            kind = self._cpu_classes[cpu] = cpu_class(self._class, cpu)
        return map(tuple.__new__, repeat(kind), rows)
